// What every page has to stand, as seen by the browser: a list of complaints, empty where all is well.
(() => {
  const wrong = [];

  if (document.documentElement.scrollWidth > innerWidth) {
    const wide = Array.from(document.querySelectorAll("main *")).find((one) => one.getBoundingClientRect().right > innerWidth + 1);
    wrong.push(`wider than the window: ${document.documentElement.scrollWidth} of ${innerWidth}${wide ? ` (${name(wide)})` : ""}`);
  }

  // WCAG 2.2, 1.4.3 and 1.4.11: https://www.w3.org/TR/WCAG22/#contrast-minimum
  function name(element) {
    return `${element.tagName.toLowerCase()}${element.id ? `#${element.id}` : ""}${element.className ? `.${String(element.className).replaceAll(" ", ".")}` : ""}`;
  }
  function colour(text) {
    const [r, g, b, a = 1] = text.match(/[\d.]+/g).map(Number);
    return { r, g, b, a };
  }
  function over(top, under) {
    const mix = (of) => top[of] * top.a + under[of] * (1 - top.a);
    return { r: mix("r"), g: mix("g"), b: mix("b"), a: 1 };
  }
  function ground(element) {
    const layers = [];
    for (let one = element; one; one = one.parentElement) {
      const layer = colour(getComputedStyle(one).backgroundColor);
      if (layer.a > 0) layers.push(layer);
      if (layer.a === 1) break;
    }
    return layers.reduceRight((under, top) => over(top, under), { r: 255, g: 255, b: 255, a: 1 });
  }
  function luminance({ r, g, b }) {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  }
  function contrast(one, other) {
    const [dark, bright] = [luminance(one), luminance(other)].sort((a, b) => a - b);
    return (bright + 0.05) / (dark + 0.05);
  }
  function seen(element) {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({ visibilityProperty: true }) && box.width > 1 && box.height > 1;
  }

  let texts = 0;
  for (const element of document.body.querySelectorAll("*")) {
    const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || !seen(element)) continue;
    texts += 1;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const limit = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    const under = ground(element);
    const ratio = contrast(over(colour(style.color), under), under);
    if (ratio < limit) wrong.push(`${name(element)} has a contrast of ${ratio.toFixed(2)}: ${element.textContent.trim().slice(0, 40)}`);
  }
  if (texts < 10) wrong.push(`only ${texts} texts are seen`);

  for (const element of document.body.querySelectorAll("button, input:not([type=checkbox]), .open, .dot")) {
    if (!seen(element)) continue;
    const style = getComputedStyle(element);
    const around = ground(element.parentElement);
    const edge = style.borderTopWidth === "0px" ? 1 : contrast(over(colour(style.borderTopColor), around), around);
    if (Math.max(edge, contrast(ground(element), around)) < 3) wrong.push(`${name(element)} does not stand out`);
  }

  const ids = Array.from(document.querySelectorAll("[id]"), (element) => element.id);
  for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) wrong.push(`two elements have the id ${id}`);
  for (const link of document.querySelectorAll('a[href^="/#"], a[href*="#"]')) {
    const url = new URL(link.href);
    if (url.pathname === location.pathname && url.hash && !document.getElementById(url.hash.slice(1))) wrong.push(`${url.hash} leads nowhere`);
  }
  for (const element of document.querySelectorAll("a, button")) {
    if (seen(element) && !(element.textContent.trim() || element.getAttribute("aria-label"))) wrong.push(`${name(element)} has no name`);
  }
  return wrong.join("\n");
})()
