//! The templates at hand: those built into the binary, laid over by those of the config repository.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use jsonschema::error::ValidationErrorKind;
use serde_json::{Map, Value};

use super::engine::{Program, Source};
use super::problem::{Problem, RenderError, nearest};
use crate::hash::{ContentHash, Hasher};
use crate::yaml;

/// The folder of partials that every template can include, and of a template's own.
const PARTIALS: &str = "partials";
/// The file that describes a template.
const DESCRIPTION: &str = "template.yaml";
/// What stands before the path of a built-in file in messages.
const BUILTIN: &str = "builtin";

#[derive(rust_embed::Embed)]
#[folder = "templates/services/"]
struct Builtin;

/// A file below `templates/` of the config repository.
#[derive(Debug, Clone)]
pub struct TemplateFile {
    /// The path below `templates/`, such as `web/10-deployment.yaml.hbs`.
    pub path: String,
    /// The blob's id: the same id is the same content.
    pub blob: String,
    /// The content.
    pub bytes: Arc<[u8]>,
}

/// One template: a folder with a description and files in order.
pub struct Template {
    name: String,
    description: String,
    serves: Vec<String>,
    parameters: Value,
    id: ContentHash,
    file: Arc<str>,
    validator: jsonschema::Validator,
    program: Program,
}

impl Template {
    /// The template's name: that of its folder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it makes, in a sentence.
    #[must_use]
    pub fn description(&self) -> &str {
        &self.description
    }

    /// The service types that it can serve.
    #[must_use]
    pub fn serves(&self) -> &[String] {
        &self.serves
    }

    /// The JSON Schema of its parameters.
    #[must_use]
    pub fn parameters(&self) -> &Value {
        &self.parameters
    }

    /// The hash of the blobs that it is made of: the same id renders the same.
    #[must_use]
    pub fn id(&self) -> ContentHash {
        self.id
    }

    pub(super) fn program(&self) -> &Program {
        &self.program
    }

    /// Fills in the defaults of the parameters and checks them against the schema.
    pub(super) fn check_parameters(&self, params: &mut Map<String, Value>) -> Result<(), Vec<RenderError>> {
        for (name, schema) in self.parameters["properties"].as_object().into_iter().flatten() {
            if let (None, Some(default)) = (params.get(name), schema.get("default")) {
                params.insert(name.clone(), default.clone());
            }
        }
        let given = Value::Object(std::mem::take(params));
        let problems: Vec<_> =
            self.validator.iter_errors(&given).flat_map(|error| self.parameter_problems(&error)).collect();
        if let Value::Object(given) = given {
            *params = given;
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }
}

impl Template {
    /// Words what the schema says against a parameter.
    fn parameter_problems(&self, error: &jsonschema::ValidationError<'_>) -> Vec<RenderError> {
        let at = format!("params{}", error.instance_path().to_string().replace('/', "."));
        let refuse = |path, message| RenderError::new(&self.file, 1, 1, Problem::Parameter { path, message });
        let ValidationErrorKind::AdditionalProperties { unexpected } = error.kind() else {
            return vec![refuse(at, error.to_string())];
        };
        let known: Vec<&str> = self.parameters["properties"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name.as_str())
            .collect();
        let unknown = |name: &String| {
            let meant = nearest(name, known.iter().copied());
            let meant = meant.map_or(String::new(), |meant| format!("; did you mean `{meant}`?"));
            refuse(format!("{at}.{name}"), format!("there is no such parameter{meant}"))
        };
        unexpected.iter().map(unknown).collect()
    }
}

type Outcome = Result<Arc<Template>, Arc<Vec<RenderError>>>;

/// All templates of one revision of the config repository. A broken one is known by its errors and breaks only the
/// services that use it.
#[derive(Clone)]
pub struct TemplateSet {
    templates: BTreeMap<String, (ContentHash, Outcome)>,
}

impl TemplateSet {
    /// The templates that are built into the binary.
    #[must_use]
    pub fn builtin() -> &'static Self {
        static SET: LazyLock<TemplateSet> = LazyLock::new(|| TemplateSet::assemble(&[], None));
        &SET
    }

    /// The built-in templates with those of the config repository.
    ///
    /// A folder with a `template.yaml` is a template of its own, also where its name is that of a built-in one. A
    /// folder without one is laid over the built-in template of that name, file by file. What did not change since
    /// `previous` is not compiled again.
    #[must_use]
    pub fn load(files: &[TemplateFile], previous: Option<&Self>) -> Self {
        Self::assemble(files, Some(previous.unwrap_or(Self::builtin())))
    }

    /// The template of a name.
    ///
    /// # Errors
    /// Where there is none, or what is wrong with it.
    pub fn get(&self, name: &str) -> Result<&Arc<Template>, Vec<RenderError>> {
        match self.templates.get(name) {
            Some((_, Ok(template))) => Ok(template),
            Some((_, Err(problems))) => Err(problems.to_vec()),
            None => {
                let suggestion = nearest(name, self.templates.keys().map(String::as_str));
                let problem = Problem::NoTemplate { name: name.to_owned(), suggestion };
                Err(vec![RenderError::new(&format!("templates/{name}"), 1, 1, problem)])
            }
        }
    }

    /// The templates that are in order, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Template>> {
        self.templates.values().filter_map(|(_, outcome)| outcome.as_ref().ok())
    }

    /// Everything that is wrong with any template.
    #[must_use]
    pub fn problems(&self) -> Vec<RenderError> {
        let mut problems: Vec<RenderError> = Vec::new();
        for problem in
            self.templates.values().filter_map(|(_, outcome)| outcome.as_ref().err()).flat_map(|p| p.iter())
        {
            // a shared partial may break many templates in the same way
            if !problems.contains(problem) {
                problems.push(problem.clone());
            }
        }
        problems
    }

    fn assemble(own: &[TemplateFile], previous: Option<&Self>) -> Self {
        let builtin = Folders::of(BUILTIN, &builtin_files());
        let own = Folders::of("templates", own);
        let mut names: Vec<&String> = builtin.folders.keys().chain(own.folders.keys()).collect();
        names.retain(|name| name.as_str() != PARTIALS);
        names.sort_unstable();
        names.dedup();
        let templates = names
            .into_iter()
            .map(|name| {
                let parts = Parts::gather(name, &builtin, &own);
                let id = parts.id();
                let known =
                    previous.and_then(|set| set.templates.get(name)).filter(|(known, _)| *known == id);
                let outcome = known.map_or_else(
                    || parts.compile(name, id).map(Arc::new).map_err(Arc::new),
                    |(_, outcome)| outcome.clone(),
                );
                (name.clone(), (id, outcome))
            })
            .collect();
        Self { templates }
    }
}

fn builtin_files() -> Vec<TemplateFile> {
    Builtin::iter()
        .filter_map(|path| {
            let file = Builtin::get(&path)?;
            let blob = hex::encode(file.metadata.sha256_hash());
            Some(TemplateFile { path: path.into_owned(), blob, bytes: file.data.into_owned().into() })
        })
        .collect()
}

/// A file with the path that messages name.
#[derive(Clone)]
struct Named {
    shown: Arc<str>,
    blob: String,
    bytes: Arc<[u8]>,
}

type Files = BTreeMap<String, Named>;

/// Files by folder, then by the path within it.
struct Folders {
    folders: BTreeMap<String, Files>,
}

impl Folders {
    fn of(root: &str, files: &[TemplateFile]) -> Self {
        let mut folders: BTreeMap<String, Files> = BTreeMap::new();
        for file in files {
            let Some((folder, path)) = file.path.split_once('/') else { continue };
            let named = Named {
                shown: format!("{root}/{}", file.path).into(),
                blob: file.blob.clone(),
                bytes: Arc::clone(&file.bytes),
            };
            folders.entry(folder.to_owned()).or_default().insert(path.to_owned(), named);
        }
        Self { folders }
    }

    fn files(&self, folder: &str) -> impl Iterator<Item = (&String, &Named)> {
        self.folders.get(folder).into_iter().flatten()
    }
}

/// Everything that one template is made of.
struct Parts {
    description: Option<Named>,
    files: Files,
    partials: Files,
    strays: Vec<Named>,
}

impl Parts {
    fn gather(name: &str, builtin: &Folders, own: &Folders) -> Self {
        let replaces = own.files(name).any(|(path, _)| path == DESCRIPTION);
        let layers = [(builtin, !replaces), (own, true)];
        let mut parts =
            Self { description: None, files: Files::new(), partials: Files::new(), strays: Vec::new() };
        for (folders, with_template) in layers {
            for (path, file) in folders.files(PARTIALS) {
                parts.partials.extend(partial_name(path).map(|name| (name.to_owned(), file.clone())));
            }
            for (path, file) in folders.files(name).filter(|_| with_template) {
                if path == DESCRIPTION {
                    parts.description = Some(file.clone());
                } else if let Some(path) = path.strip_prefix("partials/") {
                    parts.partials.extend(partial_name(path).map(|name| (name.to_owned(), file.clone())));
                } else if path.ends_with(".yaml.hbs") && !path.contains('/') {
                    parts.files.insert(path.clone(), file.clone());
                } else if path != "README.md" {
                    parts.strays.push(file.clone());
                }
            }
        }
        parts
    }

    fn id(&self) -> ContentHash {
        let mut hasher = Hasher::new("template");
        let description = self.description.iter().map(|file| (DESCRIPTION, file));
        let files = self.files.iter().chain(&self.partials).map(|(path, file)| (path.as_str(), file));
        let strays = self.strays.iter().map(|file| ("", file));
        for (path, file) in description.chain(files).chain(strays) {
            hasher = hasher.text(path).text(&file.shown).text(&file.blob);
        }
        hasher.finish()
    }

    fn compile(&self, name: &str, id: ContentHash) -> Result<Template, Vec<RenderError>> {
        let mut problems: Vec<_> = self.strays.iter().map(stray).collect();
        let described = if let Some(file) = &self.description {
            describe(file, name).map_err(|problem| problems.push(problem)).ok()
        } else {
            let problem = Problem::Description(format!("the template `{name}` has no `{DESCRIPTION}`"));
            problems.push(RenderError::new(&format!("templates/{name}/{DESCRIPTION}"), 1, 1, problem));
            None
        };
        let mut source = |name: &str, file: &Named| {
            let text = std::str::from_utf8(&file.bytes);
            if text.is_err() {
                problems.push(RenderError::new(
                    &file.shown,
                    1,
                    1,
                    Problem::Syntax("it is no UTF-8".to_owned()),
                ));
            }
            Some(Source { name: name.to_owned(), file: Arc::clone(&file.shown), text: text.ok()?.into() })
        };
        let files: Vec<Source> = self.files.iter().filter_map(|(path, file)| source(path, file)).collect();
        let partials = self
            .partials
            .iter()
            .filter_map(|(name, file)| Some((name.clone(), source(name, file)?)))
            .collect();
        let program = Program::compile(&files, &partials).map_err(|found| problems.extend(found)).ok();
        match (described, program) {
            (Some(described), Some(program)) if problems.is_empty() => {
                let Described { description, serves, parameters, validator, file } = described;
                let name = name.to_owned();
                Ok(Template { name, description, serves, parameters, id, file, validator, program })
            }
            _ => Err(problems),
        }
    }
}

fn partial_name(path: &str) -> Option<&str> {
    let name = path.strip_suffix(".hbs")?;
    let name = name.strip_suffix(".yaml").unwrap_or(name);
    (!name.contains('/')).then_some(name)
}

fn stray(file: &Named) -> RenderError {
    let message = "a template's folder holds `template.yaml`, files that end in `.yaml.hbs`, and `partials/`";
    RenderError::new(&file.shown, 1, 1, Problem::Description(message.to_owned()))
}

/// What `template.yaml` says.
struct Described {
    file: Arc<str>,
    description: String,
    serves: Vec<String>,
    parameters: Value,
    validator: jsonschema::Validator,
}

/// Reads `template.yaml`.
fn describe(file: &Named, name: &str) -> Result<Described, RenderError> {
    let refuse = |line, column, message: String| {
        RenderError::new(&file.shown, line, column, Problem::Description(message))
    };
    let text = std::str::from_utf8(&file.bytes).map_err(|_| refuse(1, 1, "it is no UTF-8".to_owned()))?;
    let mut documents = yaml::read(&file.shown, text, &yaml::Limits::config())
        .map_err(|error| refuse(error.place.line as usize, error.place.column as usize, error.message))?;
    let (Some(document), true) = (documents.pop(), documents.is_empty()) else {
        return Err(refuse(1, 1, "it holds one document of `kind: Template`".to_owned()));
    };
    let at = |pointer: &str, message: String| {
        let place = document.nearest(pointer);
        refuse(place.line as usize, place.column as usize, message)
    };
    let text_at = |pointer: &str| document.at(pointer).and_then(yaml::Node::as_str);
    for (pointer, wanted) in
        [("/apiVersion", "branchline.dev/v1"), ("/kind", "Template"), ("/metadata/name", name)]
    {
        if text_at(pointer) != Some(wanted) {
            let field = pointer[1..].replace('/', ".");
            return Err(at(pointer, format!("`{field}` must be `{wanted}`")));
        }
    }
    for (key, _) in document.at("/spec").map_or(&[][..], yaml::Node::entries) {
        let known = ["description", "serves", "parameters"];
        if !known.contains(&key.name.as_str()) {
            let meant = nearest(&key.name, known)
                .map_or(String::new(), |name| format!("; hint: did you mean `{name}`?"));
            let place = &key.place;
            return Err(refuse(
                place.line as usize,
                place.column as usize,
                format!("unknown field `{}`{meant}", key.name),
            ));
        }
    }
    let description = text_at("/spec/description").ok_or_else(|| {
        at("/spec/description", "`spec.description` says in a sentence what the template makes".to_owned())
    })?;
    let serves = document.at("/spec/serves").map_or(&[][..], yaml::Node::items);
    let parameters = document
        .at("/spec/parameters")
        .map_or_else(|| serde_json::json!({"type": "object"}), yaml::Node::to_json);
    let validator = jsonschema::validator_for(&parameters)
        .map_err(|error| at("/spec/parameters", format!("`spec.parameters` is no JSON Schema: {error}")))?;
    Ok(Described {
        file: Arc::clone(&file.shown),
        description: description.to_owned(),
        serves: serves.iter().filter_map(|node| node.as_str().map(str::to_owned)).collect(),
        parameters,
        validator,
    })
}
