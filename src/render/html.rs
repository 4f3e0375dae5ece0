//! The other registry: text for people's browsers, where every `{{value}}` is escaped for HTML.
//!
//! Its templates are our own, so they may use all of Handlebars; the helpers are those of manifests, and a missing
//! value is an error here too.

use handlebars::Handlebars;
use serde::Serialize;
use serde_json::Value;

use super::problem::RenderError;
use super::{explain, helpers};

/// A set of pages and the parts that they share.
pub struct Pages(Handlebars<'static>);

impl Pages {
    /// Compiles templates, given by name and source. Each can include the others by their names.
    ///
    /// # Errors
    /// The first source that is no Handlebars, with its line and column.
    pub fn new<N: AsRef<str>, S: AsRef<str>>(
        sources: impl IntoIterator<Item = (N, S)>,
    ) -> Result<Self, RenderError> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        helpers::register(&mut registry);
        for (name, source) in sources {
            let name = name.as_ref();
            registry
                .register_template_string(name, source)
                .map_err(|error| explain::syntax(name, &error, &[]))?;
        }
        Ok(Self(registry))
    }

    /// Renders a page.
    ///
    /// # Errors
    /// Where there is no such page, a value is missing, or a helper cannot answer.
    pub fn render<T: Serialize>(&self, name: &str, values: &T) -> Result<String, RenderError> {
        let problem = |error: &handlebars::RenderError, values: &Value| {
            let file = error.template_name.as_deref().unwrap_or(name);
            let (line, column) = (error.line_no.unwrap_or(1), error.column_no.unwrap_or(1));
            RenderError::new(file, line, column, explain::problem(error, values))
        };
        self.0.render(name, values).map_err(|error| {
            let values = serde_json::to_value(values).unwrap_or(Value::Null);
            problem(&error, &values)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_escaped_and_missing_ones_are_errors() {
        let pages = Pages::new([
            ("layout", "<title>{{title}}</title>{{> @partial-block}}"),
            ("page", "{{#> layout}}<p>{{text}}</p>{{/layout}}"),
            ("broken", "<p>\n  {{#if titel}}x{{/if}}"),
        ])
        .expect("compiles");
        let values = json!({"title": "a & b", "text": "<script>"});
        assert_eq!(
            pages.render("page", &values).expect("renders"),
            "<title>a &amp; b</title><p>&lt;script&gt;</p>"
        );
        let missing = pages.render("broken", &values).expect_err("a typo");
        insta::assert_snapshot!(missing, @"broken:2:3: `titel` is missing; hint: did you mean `title`?");
        let syntax = Pages::new([("p", "a\n{{#if}}")]).map(|_| ()).expect_err("no block");
        insta::assert_snapshot!(syntax, @"p:2:8: this is no valid Handlebars: the tag here is not understood");
    }
}
