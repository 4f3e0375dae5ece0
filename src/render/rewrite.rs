//! Rewrites a parsed template: values are quoted, loops are counted, and what cannot be bounded is refused.

use std::mem;

use handlebars::Template;
use handlebars::template::{DecoratorTemplate, HelperTemplate, Parameter, Subexpression, TemplateElement};

use super::helpers::{self, BLOCKS, INLINE};
use super::problem::{Problem, nearest};

/// A partial's name, and the line and column where it is included.
pub(super) type Included = (String, (usize, usize));

/// What was found in a template while it was rewritten.
#[derive(Default)]
pub(super) struct Rewritten {
    pub(super) problems: Vec<((usize, usize), Problem)>,
    pub(super) partials: Vec<Included>,
    /// The deepest nesting of blocks.
    pub(super) depth: usize,
}

/// Rewrites a template whose marked lines begin with a mark.
pub(super) fn rewrite(template: &mut Template, marked: &[bool]) -> Rewritten {
    let mut rewriter = Rewriter { found: Rewritten::default(), marked, place: (1, 1) };
    rewriter.template(template, 0);
    rewriter.found
}

/// Puts a call without arguments before everything else of a template.
pub(super) fn prepend(template: &mut Template, helper: &str) {
    let mut parsed = Template::compile("{{{step}}}").unwrap_or_default();
    if let (Some(TemplateElement::HtmlExpression(mut call)), Some(mapping)) =
        (parsed.elements.pop(), parsed.mapping.pop())
    {
        call.name = Parameter::Name(helper.to_owned());
        let mapping = template.mapping.first().cloned().unwrap_or(mapping);
        template.elements.insert(0, TemplateElement::HtmlExpression(call));
        template.mapping.insert(0, mapping);
    }
}

/// The column as the author counts it: a mark before the line is not theirs.
pub(super) fn column(marked: &[bool], line: usize, seen: usize) -> usize {
    let has_mark = marked.get(line.wrapping_sub(1)).copied().unwrap_or(false);
    if has_mark { seen.saturating_sub(1).max(1) } else { seen }
}

struct Rewriter<'a> {
    found: Rewritten,
    marked: &'a [bool],
    place: (usize, usize),
}

impl Rewriter<'_> {
    fn template(&mut self, template: &mut Template, depth: usize) {
        self.found.depth = self.found.depth.max(depth);
        let places: Vec<_> = template.mapping.iter().map(|at| (at.0, at.1)).collect();
        for (index, element) in template.elements.iter_mut().enumerate() {
            if let Some((line, seen)) = places.get(index) {
                self.place = (*line, column(self.marked, *line, *seen));
            }
            match element {
                TemplateElement::Expression(call) => self.value(call),
                TemplateElement::HtmlExpression(call) => self.structure(call),
                TemplateElement::HelperBlock(call) => self.block(call, depth),
                TemplateElement::PartialExpression(partial) => self.partial(partial),
                TemplateElement::PartialBlock(_) => self.refuse(Problem::Construct("a partial with a block")),
                TemplateElement::DecoratorExpression(_) | TemplateElement::DecoratorBlock(_) => {
                    self.refuse(Problem::Construct("a decorator or an inline partial"));
                }
                _ => {}
            }
        }
    }

    fn refuse(&mut self, problem: Problem) {
        self.found.problems.push((self.place, problem));
    }

    /// `{{value}}` → `{{scalar! value}}`, `{{helper a b}}` → `{{scalar! (helper a b)}}`.
    fn value(&mut self, call: &mut HelperTemplate) {
        self.arguments(call);
        let name = mem::replace(&mut call.name, Parameter::Name(helpers::SCALAR.to_owned()));
        let argument = if call.params.is_empty() && call.hash.is_empty() {
            name
        } else {
            self.inline(&name);
            let (params, hash) = (mem::take(&mut call.params), mem::take(&mut call.hash));
            Parameter::Subexpression(Subexpression::new(name, params, hash))
        };
        if let Parameter::Subexpression(inner) = &argument
            && inner.params().is_none_or(Vec::is_empty)
        {
            self.refuse(Problem::Syntax("a helper in brackets needs an argument".to_owned()));
        }
        call.params = vec![argument];
    }

    /// `{{{yaml value}}}`: is given the column where it stands as its indent.
    fn structure(&mut self, call: &mut HelperTemplate) {
        self.arguments(call);
        match call.name.as_name() {
            Some("json") => call.name = Parameter::Name(helpers::FLOW.to_owned()),
            Some("yaml") => {
                let stands_at = self.place.1 - 1;
                let indent = Parameter::Literal(stands_at.into());
                if let Some(given) = call.hash.insert("indent".to_owned(), indent.clone())
                    && given != indent
                {
                    let given = match given {
                        Parameter::Literal(value) => value.to_string(),
                        other => other.as_name().unwrap_or("…").to_owned(),
                    };
                    self.refuse(Problem::Indent { given, column: stands_at });
                }
            }
            _ => self.refuse(Problem::RawValue),
        }
    }

    fn block(&mut self, call: &mut HelperTemplate, depth: usize) {
        self.arguments(call);
        let name = call.name.as_name().unwrap_or_default().to_owned();
        if !BLOCKS.contains(&name.as_str()) {
            let suggestion = nearest(&name, BLOCKS.iter().copied());
            self.refuse(Problem::NoHelper { name: name.clone(), suggestion });
        }
        if call.params.len() != 1 {
            self.refuse(Problem::Syntax(format!("`{{{{#{name}}}}}` takes one value")));
        }
        for branch in [&mut call.template, &mut call.inverse].into_iter().flatten() {
            self.template(branch, depth + 1);
        }
        if let (true, Some(body)) = (name == "each", &mut call.template) {
            prepend(body, helpers::STEP);
        }
    }

    fn partial(&mut self, partial: &DecoratorTemplate) {
        for argument in partial.params.iter().chain(partial.hash.values()) {
            self.argument(argument);
        }
        match &partial.name {
            Parameter::Name(name) if name.starts_with('@') => {
                self.refuse(Problem::Construct("a partial with a block"));
            }
            Parameter::Name(name) => {
                let name = name.trim_matches(['[', ']', '\'', '"']).to_owned();
                self.found.partials.push((name, self.place));
            }
            Parameter::Path(_) => {
                let name = partial.name.as_name().unwrap_or_default().to_owned();
                self.found.partials.push((name, self.place));
            }
            _ => self.refuse(Problem::Construct("a computed partial name")),
        }
    }

    fn arguments(&mut self, call: &HelperTemplate) {
        for argument in call.params.iter().chain(call.hash.values()) {
            self.argument(argument);
        }
    }

    /// Checks the helpers that are called in brackets.
    fn argument(&mut self, argument: &Parameter) {
        let Parameter::Subexpression(inner) = argument else { return };
        if let TemplateElement::Expression(call) = inner.as_element() {
            self.inline(&call.name);
            self.arguments(call);
        }
    }

    fn inline(&mut self, name: &Parameter) {
        let name = name.as_name().unwrap_or_default();
        if !INLINE.contains(&name) {
            let suggestion = nearest(name, INLINE.iter().copied());
            self.refuse(Problem::NoHelper { name: name.to_owned(), suggestion });
        }
    }
}
