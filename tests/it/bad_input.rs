//! Bad input, as a person meets it: the real server says what is wrong and where, goes on running, keeps the last good
//! state serving and deletes nothing; and what is mended goes live by itself.
//!
//! | input | here | in its room |
//! |---|---|---|
//! | YAML bombs, tabs, duplicate keys, wrong types, unknown fields, cyclic references | `config` | `yaml`, `tests/it/config.rs` |
//! | a missing template variable, a ClusterRoleBinding, another namespace, values full of YAML and Handlebars | `config` | `tests/it/render` |
//! | a broken root, project, environment or pin, also across a restart | `config` | `tests/it/config.rs` |
//! | links that leave the tree (in the config: any), submodules, `..` in trees | `git` | `source` |
//! | a repository that is unreachable, emptied or force-pushed, a branch that is gone, also across a restart | `git` | `tests/it/source.rs` |
//! | a build that hangs or never stops printing; a process that ends, never becomes ready or ignores SIGTERM | `process` | `tests/it/build.rs`, `embedded_process.rs` |
//! | a full disk, also by what nothing runs any more | `disk` | `tests/it/store.rs`, `build.rs` |

mod config;
mod disk;
mod git;
mod process;
