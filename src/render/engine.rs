//! Compiles the files of one template and runs them.
//!
//! Handlebars parses and renders; what it lacks is added when a template is compiled: every `{{value}}` is put into
//! a helper that prints a quoted scalar, loops and partials count the steps of a budget, constructs that cannot be
//! bounded are refused, and the graph of partials has no cycle. So no values can make a rendering endless, deep or
//! larger than its budget, and nothing needs to be stopped from outside.

use std::collections::BTreeMap;
use std::sync::Arc;

use handlebars::{Context, Handlebars, RenderContext, Renderable, Template};
use serde_json::Value;

use super::explain;
use super::helpers;
use super::lint::{Linted, lint};
use super::output::{self, Rendered};
use super::problem::{Problem, RenderError, nearest};
use super::rewrite::{Included, Rewritten, column, prepend, rewrite};
use crate::yaml::Place;

/// The deepest nesting of blocks and partials together.
const DEEPEST: usize = 48;

/// A file that a program is compiled from.
#[derive(Debug, Clone)]
pub(super) struct Source {
    /// What it is called in the program: the file's name, or a partial's.
    pub(super) name: String,
    /// Its path, as its author knows it.
    pub(super) file: Arc<str>,
    pub(super) text: Arc<str>,
}

/// A compiled template: its files in order, and the partials they reach.
pub(super) struct Program {
    registry: Handlebars<'static>,
    files: Vec<String>,
    sources: BTreeMap<String, Compiled>,
    /// What a mark in rendered text stands for; entry 0 stands for nothing.
    lines: Vec<(Arc<str>, u32)>,
}

struct Compiled {
    file: Arc<str>,
    marked: Vec<bool>,
    depth: usize,
    partials: Vec<Included>,
}

impl Program {
    /// Compiles `files` and those of `partials` that they reach.
    pub(super) fn compile(
        files: &[Source],
        partials: &BTreeMap<String, Source>,
    ) -> Result<Self, Vec<RenderError>> {
        let mut registry = Handlebars::new();
        registry.set_strict_mode(true);
        registry.register_escape_fn(handlebars::no_escape);
        helpers::register(&mut registry);
        let mut program = Self {
            registry,
            files: files.iter().map(|source| source.name.clone()).collect(),
            sources: BTreeMap::new(),
            lines: vec![("".into(), 0)],
        };
        let mut problems = Vec::new();
        let mut queue: Vec<&Source> = files.iter().rev().collect();
        while let Some(source) = queue.pop() {
            let is_partial = partials.contains_key(&source.name);
            match program.add(source, is_partial) {
                Err(found) => problems.extend(found),
                Ok(reached) => {
                    for (name, (line, column)) in reached {
                        match partials.get(&name) {
                            Some(partial) if !program.sources.contains_key(&name) => queue.push(partial),
                            Some(_) => {}
                            None => {
                                let suggestion = nearest(&name, partials.keys().map(String::as_str));
                                let problem = Problem::NoPartial { name, suggestion };
                                problems.push(RenderError::new(&source.file, line, column, problem));
                            }
                        }
                    }
                }
            }
        }
        if problems.is_empty() {
            problems.extend(program.nesting());
        }
        if problems.is_empty() { Ok(program) } else { Err(problems) }
    }

    /// Runs the files in order; `each` takes the path and the text of every one.
    pub(super) fn run(
        &self,
        values: &Value,
        mut each: impl FnMut(&str, &Rendered) -> Vec<RenderError>,
    ) -> Result<(), Vec<RenderError>> {
        let context = Context::wraps(values)
            .map_err(|error| vec![RenderError::new("values", 1, 1, Problem::Other(error.to_string()))])?;
        let mut problems = Vec::new();
        let mut out = Rendered::new(weight(values));
        for name in &self.files {
            let template = self.registry.get_template(name).expect("every file was registered when compiled");
            out.clear();
            let rendered = template.render(&self.registry, &context, &mut RenderContext::new(None), &mut out);
            let file = &self.sources[name].file;
            match rendered {
                Ok(()) => problems.extend(each(file, &out)),
                Err(error) => problems.push(self.explain(name, &error, values)),
            }
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// The template's place behind a line of its rendered text, or the beginning of `file` where that is not known.
    pub(super) fn origin(&self, file: &str, rendered: &Rendered, line: u32) -> Place {
        let mark = usize::try_from(rendered.mark(line)).unwrap_or(0);
        match self.lines.get(mark) {
            Some((file, line)) if mark > 0 => Place { file: Arc::clone(file), line: *line, column: 1 },
            _ => Place { file: file.into(), line: 1, column: 1 },
        }
    }

    /// Adds a source; gives the partials that it includes.
    fn add(&mut self, source: &Source, is_partial: bool) -> Result<Vec<Included>, Vec<RenderError>> {
        let Linted { marked, problems } = lint(&source.file, &source.text, true);
        if !problems.is_empty() {
            return Err(problems);
        }
        let text = self.mark(source, &marked);
        let mut template =
            Template::compile(&text).map_err(|error| vec![explain::syntax(&source.file, &error, &marked)])?;
        let Rewritten { problems, partials, depth } = rewrite(&mut template, &marked);
        if !problems.is_empty() {
            let error = |((line, column), problem)| RenderError::new(&source.file, line, column, problem);
            return Err(problems.into_iter().map(error).collect());
        }
        if is_partial {
            prepend(&mut template, helpers::PARTIAL_STEP);
        }
        template.name = Some(source.name.clone());
        self.registry.register_template(&source.name, template);
        let compiled = Compiled { file: Arc::clone(&source.file), marked, depth, partials: partials.clone() };
        self.sources.insert(source.name.clone(), compiled);
        Ok(partials)
    }

    /// Puts a mark before every line that can carry one.
    fn mark(&mut self, source: &Source, marked: &[bool]) -> String {
        let mut text = String::with_capacity(source.text.len() * 2);
        for ((line, content), can_be_marked) in (1..).zip(source.text.split_inclusive('\n')).zip(marked) {
            if *can_be_marked && let Some(mark) = output::mark(self.lines.len()) {
                self.lines.push((Arc::clone(&source.file), line));
                text.push(mark);
            }
            text.push_str(content);
        }
        text
    }

    fn error(&self, name: &str, line: usize, column_seen: usize, problem: Problem) -> RenderError {
        match self.sources.get(name) {
            Some(compiled) => {
                RenderError::new(&compiled.file, line, column(&compiled.marked, line, column_seen), problem)
            }
            None => RenderError::new(name, line, column_seen, problem),
        }
    }

    /// Refuses partials that include themselves, and nesting that no rendering needs.
    fn nesting(&self) -> Vec<RenderError> {
        let mut problems = Vec::new();
        for file in &self.files {
            let mut path = Vec::new();
            if let Err(problem) = self.depth_from(file, &mut path, &mut BTreeMap::new()) {
                problems.push(problem);
            }
        }
        problems.dedup();
        problems
    }

    fn depth_from<'a>(
        &'a self,
        name: &'a str,
        path: &mut Vec<&'a str>,
        known: &mut BTreeMap<&'a str, usize>,
    ) -> Result<usize, RenderError> {
        if let Some(depth) = known.get(name) {
            return Ok(*depth);
        }
        path.push(name);
        let compiled = &self.sources[name];
        let mut depth = compiled.depth;
        for (partial, (line, column)) in &compiled.partials {
            if let Some(first) = path.iter().position(|seen| seen == partial) {
                let cycle: Vec<&str> = path[first..].iter().copied().chain([partial.as_str()]).collect();
                let problem = Problem::Recursion(partial.clone(), cycle.join(" → "));
                return Err(RenderError::new(&compiled.file, *line, *column, problem));
            }
            depth = depth.max(compiled.depth + 1 + self.depth_from(partial, path, known)?);
            if depth > DEEPEST {
                let problem = Problem::Nesting(depth, DEEPEST);
                return Err(RenderError::new(&compiled.file, *line, *column, problem));
            }
        }
        path.pop();
        known.insert(name, depth);
        Ok(depth)
    }

    /// Words an error of Handlebars for the template's author.
    fn explain(&self, file: &str, error: &handlebars::RenderError, values: &Value) -> RenderError {
        let name = error.template_name.as_deref().unwrap_or(file);
        self.error(
            name,
            error.line_no.unwrap_or(1),
            error.column_no.unwrap_or(1),
            explain::problem(error, values),
        )
    }
}

/// The number of values within a value.
fn weight(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(weight).sum(),
        Value::Object(map) => map.values().map(weight).sum(),
        _ => 0,
    }
}
