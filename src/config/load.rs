//! From the files of a revision to a [`Repository`].

use std::collections::BTreeMap;
use std::sync::Arc;

use super::document::{Checked, Read, Typed, project_of, read_file};
use super::environment::{EnvironmentSpec, Releases};
use super::problem::{Problem, Scope};
use super::project::ProjectSpec;
use super::root::{ClusterSpec, ConfigSpec};
use super::schema::Kind;
use super::service::ServiceSpec;
use super::{Document, Environment, File, Project, Repository, check, standing, validate};
use crate::name::{EnvironmentName, ProjectName, ServiceName};
use crate::yaml::{Limits, Node, Place, read};

/// Reads the files of a config repository. Files that are no part of its layout are left alone.
#[must_use]
pub fn load(files: impl IntoIterator<Item = File>) -> Repository {
    load_after(&Repository::default(), files)
}

/// [`load`], where `before` is what was read earlier: files that are the same, and services that are made of the same
/// documents, are taken from there. A document that is broken now stands as it was: one mistake stops nothing but
/// itself.
#[must_use]
pub fn load_after(before: &Repository, files: impl IntoIterator<Item = File>) -> Repository {
    let mut repository = Repository::default();
    let mut folders: BTreeMap<ProjectName, Folder> = BTreeMap::new();
    let mut ids = BTreeMap::new();
    for file in files {
        ids.insert(file.path.clone(), file.id.clone());
        let yaml = has_extension(&file.path);
        if file.path.starts_with("templates/") {
            repository.take_template(file, before);
        } else if let (Err(why), false) = (&file.bytes, yaml) {
            // what stands in the place of a folder
            let place = Place { file: file.path.as_str().into(), line: 1, column: 1 };
            repository.problems.push(Problem::refused(place, why).within(Scope::File(file.path)));
        } else if file.path.starts_with("secrets/") && yaml {
            let place = Place { file: file.path.as_str().into(), line: 1, column: 1 };
            let problem =
                Problem::new(place, "encrypted secrets in the config repository are not supported yet");
            repository
                .problems
                .push(problem.hint("keep them in the cluster until then").within(Scope::File(file.path)));
        } else if yaml && (file.path == "branchline.yaml" || file.path.starts_with("clusters/")) {
            let read = repository.read(before, file);
            read.documents.iter().for_each(|document| repository.take(document));
        } else if yaml && file.path.starts_with("projects/") {
            let Some(project) = project_of(&file.path) else {
                repository.problems.push(misplaced(&file.path));
                continue;
            };
            let read = repository.read(before, file);
            let folder = folders.entry(project.clone()).or_default();
            for document in &read.documents {
                folder.take(&project, document, &mut repository.problems);
            }
        }
    }
    if ids.is_empty() {
        let place = Place { file: "branchline.yaml".into(), line: 1, column: 1 };
        repository.problems.push(
            Problem::new(place, "the config repository is empty").hint("nothing is removed because of it"),
        );
        repository.stands_whole(before);
    }
    repository.root_stands(before);
    for name in before.projects.keys() {
        let folder = format!("projects/{name}/");
        if repository.errors().any(|problem| problem.scope.may_hold(&folder)) {
            folders.entry(name.clone()).or_default();
        }
    }
    for (name, mut folder) in folders {
        folder.needs_project(&name, &mut repository.problems);
        if let Some(before) = before.projects.get(&name) {
            folder.stands(&name, before, &mut repository.problems);
        }
        if let Some(project) = folder.close(&name, &mut repository.problems) {
            repository.projects.insert(name, project);
        }
    }
    check::all(&mut repository, before);
    repository.environments_stand(before);
    repository.standing = standing::of(&repository, &ids);
    repository.problems.sort_by(|a, b| (&a.place, &a.message).cmp(&(&b.place, &b.message)));
    repository
}

/// Reads the `.branchline/service.yaml` of an app repository: fields of a service, without envelope.
///
/// # Errors
/// Everything that is wrong with it.
pub fn app_service(path: &str, text: &str) -> Result<Option<Node>, Vec<Problem>> {
    let nodes = read(path, text, &Limits::config())
        .map_err(|error| vec![Problem::refused(error.place, &error.message)])?;
    let Some(node) = nodes.into_iter().next() else { return Ok(None) };
    let problems = validate::against_app_schema(&node);
    if problems.is_empty() { Ok(Some(node)) } else { Err(problems) }
}

fn has_extension(path: &str) -> bool {
    let extension = path.rsplit_once('.').map(|(_, extension)| extension);
    matches!(extension, Some("yaml" | "yml"))
}

fn misplaced(path: &str) -> Problem {
    let place = Place { file: path.into(), line: 1, column: 1 };
    Problem::new(place, "the file stands in no project")
        .hint("write projects/NAME/…, where NAME takes 3 to 50 of a-z, A-Z, 0-9, - and _")
        .within(Scope::File(path.to_owned()))
}

impl Repository {
    /// Takes a file of a template. One that is not read stands as it was: without it, another template would be meant.
    fn take_template(&mut self, file: File, before: &Self) {
        let Err(why) = &file.bytes else { return self.templates.push(file) };
        let place = Place { file: file.path.as_str().into(), line: 1, column: 1 };
        let earlier = before.templates.iter().find(|earlier| earlier.path == file.path);
        let scope = earlier.map_or(Scope::Repository, |_| Scope::File(file.path.clone()));
        self.problems.push(Problem::refused(place, why).within(scope));
        self.templates.extend(earlier.cloned());
    }

    /// Reads a file, unless it was read before.
    fn read(&mut self, before: &Repository, file: File) -> Arc<Read> {
        let known = before.files.get(&file.path).filter(|(id, _)| *id == file.id);
        let read = known.map_or_else(|| Arc::new(read_file(&file)), |(_, read)| Arc::clone(read));
        self.problems.extend_from_slice(&read.problems);
        self.files.insert(file.path, (file.id, Arc::clone(&read)));
        read
    }

    fn take(&mut self, checked: &Checked) {
        let place = checked.place.clone();
        match checked.kind {
            Kind::Config => match (ConfigSpec::of(checked), &self.config) {
                (Ok(_), Some(first)) => {
                    let problem = Problem::new(place, "there is a second `kind: Config`");
                    self.problems.push(problem.hint(format!("the first stands at {}", first.name_place())));
                }
                (Ok(document), None) => self.config = Some(document),
                (Err(problem), _) => self.problems.push(problem),
            },
            Kind::Cluster => {
                let scope = Scope::File(place.file.to_string());
                let result = insert(&mut self.clusters, checked, "cluster");
                self.problems.extend(result.map(|problem| problem.within(scope)));
            }
            kind => {
                let problem = Problem::new(
                    place.clone(),
                    format!("a {} stands in the folder of its project", kind.as_str()),
                );
                self.problems.push(
                    problem.hint("move it to projects/NAME/").within(Scope::File(place.file.to_string())),
                );
            }
        }
    }
}

/// What was found in the folder of a project.
#[derive(Default)]
pub(super) struct Folder {
    pub(super) project: Option<Arc<Document<ProjectSpec>>>,
    pub(super) services: BTreeMap<ServiceName, Arc<Document<ServiceSpec>>>,
    pub(super) environments: BTreeMap<EnvironmentName, Arc<Document<EnvironmentSpec>>>,
    pub(super) releases: BTreeMap<EnvironmentName, Arc<Document<Releases>>>,
}

impl Folder {
    fn take(&mut self, project: &ProjectName, checked: &Checked, problems: &mut Vec<Problem>) {
        let place = checked.place.clone();
        let file = Scope::File(place.file.to_string());
        let environment =
            |name: &str| name.parse().map_or(file.clone(), |e| Scope::Environment(project.clone(), e));
        let service = |name: &str| name.parse().map_or(file.clone(), |s| Scope::Service(project.clone(), s));
        let problem = match checked.kind {
            Kind::Project => match (ProjectSpec::of(checked), &self.project) {
                (Ok(document), None) if document.name == project.as_str() => {
                    self.project = Some(document);
                    None
                }
                (Ok(document), None) => Some(
                    Problem::new(
                        place,
                        format!("the project `{}` stands in the folder of `{project}`", document.name),
                    )
                    .hint("name the folder like the project")
                    .within(Scope::Project(project.clone())),
                ),
                (Ok(_), Some(first)) => Some(
                    Problem::new(place, format!("the project `{project}` stands here a second time"))
                        .hint(format!("the first stands at {}", first.name_place()))
                        .within(Scope::Project(project.clone())),
                ),
                (Err(problem), _) => Some(problem.within(Scope::Project(project.clone()))),
            },
            Kind::Service => {
                let scope = service(&checked.name);
                insert(&mut self.services, checked, "service").map(|problem| problem.within(scope))
            }
            Kind::Environment => {
                let scope = environment(&checked.name);
                insert(&mut self.environments, checked, "environment").map(|problem| problem.within(scope))
            }
            Kind::Releases => {
                let scope = environment(&checked.name);
                insert(&mut self.releases, checked, "set of releases").map(|problem| problem.within(scope))
            }
            // an add-on has been refused already, as not supported yet
            Kind::Addon => None,
            kind @ (Kind::Config | Kind::Cluster) => Some(
                Problem::new(place, format!("a {} does not stand in the folder of a project", kind.as_str()))
                    .hint("move it to branchline.yaml or clusters/")
                    .within(file.clone()),
            ),
        };
        problems.extend(problem);
    }

    /// Documents without a project have nothing to belong to. Where a file cannot be read, the project may stand in it.
    fn needs_project(&self, name: &ProjectName, problems: &mut Vec<Problem>) {
        let folder = format!("projects/{name}/");
        let told = problems.iter().any(|problem| match &problem.scope {
            Scope::Project(project) => project == name,
            file @ Scope::File(_) => file.may_hold(&folder),
            _ => false,
        });
        if self.project.is_none() && !told {
            let place = Place { file: format!("{folder}project.yaml").into(), line: 1, column: 1 };
            let problem = Problem::new(place, format!("the folder of `{name}` has no `kind: Project`"));
            problems.push(problem.hint("write project.yaml").within(Scope::Project(name.clone())));
        }
    }

    /// Puts releases to their environments and gives the folder its project.
    fn close(mut self, name: &ProjectName, problems: &mut Vec<Problem>) -> Option<Project> {
        let mut environments = BTreeMap::new();
        for (environment, document) in self.environments {
            let releases = self.releases.remove(&environment);
            environments.insert(environment, Environment { document, releases, sums: BTreeMap::new() });
        }
        for (environment, document) in self.releases {
            let problem = Problem::new(
                document.name_place().clone(),
                format!("there is no environment `{environment}` to pin releases in"),
            );
            problems.push(
                problem
                    .hint("name it like the environment")
                    .within(Scope::File(document.node.place.file.to_string())),
            );
        }
        let document = self.project?;
        let (name, services, sums) = (name.clone(), self.services, BTreeMap::new());
        Some(Project { name, document, services, environments, sums })
    }
}

/// Adds a document under its name; the first of two with one name stays.
fn insert<N, T>(into: &mut BTreeMap<N, Arc<Document<T>>>, checked: &Checked, what: &str) -> Option<Problem>
where
    N: Ord + std::str::FromStr<Err = crate::name::NameError>,
    T: Spec,
{
    let place = checked.place.clone();
    let name: N = match checked.name.parse() {
        Ok(name) => name,
        Err(error) => return Some(Problem::new(place, error.to_string())),
    };
    if let Some(first) = into.get(&name) {
        let problem = Problem::new(place, format!("the {what} `{}` stands here a second time", checked.name));
        return Some(problem.hint(format!("the first stands at {}", first.name_place())));
    }
    match T::of(checked) {
        Ok(document) => {
            into.insert(name, document);
            None
        }
        Err(problem) => Some(problem),
    }
}

/// The spec of a kind.
trait Spec: Sized {
    /// The document, where its spec could be typed; its kind must have been looked at.
    fn of(checked: &Checked) -> Result<Arc<Document<Self>>, Problem>;
}

macro_rules! spec {
    ($($spec:ident: $kind:ident),*) => {$(
        impl Spec for $spec {
            fn of(checked: &Checked) -> Result<Arc<Document<Self>>, Problem> {
                match checked.typed.clone()? {
                    Typed::$kind(document) => Ok(document),
                    _ => unreachable!("a document is typed by its kind"),
                }
            }
        }
    )*};
}

spec!(
    ConfigSpec: Config, ClusterSpec: Cluster, ProjectSpec: Project, ServiceSpec: Service,
    EnvironmentSpec: Environment, Releases: Releases
);
