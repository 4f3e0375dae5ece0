//! Sets of fields: a tree of steps, each a member or only on the way to one.

use std::cmp::Ordering;
use std::fmt;

use super::path::{Path, PathElement};

/// The fields that a manager owns, or that a comparison found.
///
/// A field is in the set by itself: neither its parents nor its children come with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSet {
    /// Sorted by element; no node without a member in its subtree.
    pub(crate) nodes: Vec<Node>,
}

/// One step of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) element: PathElement,
    pub(crate) member: bool,
    pub(crate) children: FieldSet,
}

type Pick<'a> = &'a dyn Fn(Option<&Node>, Option<&Node>) -> Option<Node>;

impl FieldSet {
    /// The set without fields.
    pub const EMPTY: Self = Self { nodes: Vec::new() };

    /// Makes a set of whole paths.
    pub fn of(paths: impl IntoIterator<Item = Path>) -> Self {
        let mut set = Self::EMPTY;
        for path in paths {
            set.insert(&path);
        }
        set
    }

    /// Sorts nodes that were made in any order; each element must occur once.
    pub(crate) fn from_nodes(mut nodes: Vec<Node>) -> Self {
        if !nodes.is_sorted_by(|a, b| a.element < b.element) {
            nodes.sort_by(|a, b| a.element.cmp(&b.element));
        }
        Self { nodes }
    }

    /// Adds one field. The empty path stands for the whole object, which nobody owns, and is left out.
    pub fn insert(&mut self, path: &Path) {
        let mut set = self;
        for (position, element) in path.0.iter().enumerate() {
            let node = set.node(element);
            if position + 1 == path.0.len() {
                node.member = true;
                return;
            }
            set = &mut node.children;
        }
    }

    fn node(&mut self, element: &PathElement) -> &mut Node {
        let place = match self.find(element) {
            Ok(place) => place,
            Err(place) => {
                let node = Node { element: element.clone(), member: false, children: Self::EMPTY };
                self.nodes.insert(place, node);
                place
            }
        };
        &mut self.nodes[place]
    }

    fn find(&self, element: &PathElement) -> Result<usize, usize> {
        self.nodes.binary_search_by(|node| node.element.cmp(element))
    }

    pub(crate) fn get(&self, element: &PathElement) -> Option<&Node> {
        self.find(element).ok().map(|place| &self.nodes[place])
    }

    /// Says whether there is no field in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Counts the fields.
    #[must_use]
    pub fn len(&self) -> usize {
        self.nodes.iter().map(|node| usize::from(node.member) + node.children.len()).sum()
    }

    /// Says whether the field is in the set.
    #[must_use]
    pub fn contains(&self, path: &Path) -> bool {
        let Some((last, way)) = path.0.split_last() else { return false };
        let mut set = self;
        for element in way {
            match set.get(element) {
                Some(node) => set = &node.children,
                None => return false,
            }
        }
        set.get(last).is_some_and(|node| node.member)
    }

    /// Says whether every field of `other` is in this set.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        let mut mine = self.nodes.iter().peekable();
        other.nodes.iter().all(|theirs| {
            while mine.next_if(|node| node.element < theirs.element).is_some() {}
            mine.next_if(|node| node.element == theirs.element)
                .is_some_and(|node| node.member >= theirs.member && node.children.covers(&theirs.children))
        })
    }

    /// The fields that are in either set.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        self.zip(other, &|a, b| match (a, b) {
            (Some(one), None) | (None, Some(one)) => Some(one.clone()),
            (Some(a), Some(b)) => Node::kept(a, a.member || b.member, a.children.union(&b.children)),
            (None, None) => None,
        })
    }

    /// The fields that are in both sets.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Self {
        self.zip(other, &|a, b| match (a, b) {
            (Some(a), Some(b)) => Node::kept(a, a.member && b.member, a.children.intersection(&b.children)),
            _ => None,
        })
    }

    /// The fields of this set that are not in the other. A parent in `other` does not take its children along.
    #[must_use]
    pub fn difference(&self, other: &Self) -> Self {
        self.zip(other, &|a, b| match (a, b) {
            (Some(a), None) => Some(a.clone()),
            (Some(a), Some(b)) => Node::kept(a, a.member && !b.member, a.children.difference(&b.children)),
            (None, _) => None,
        })
    }

    /// As [`difference`](Self::difference), but what is in `other` takes everything below it along.
    #[must_use]
    pub fn difference_below(&self, other: &Self) -> Self {
        self.zip(other, &|a, b| match (a, b) {
            (Some(a), None) => Some(a.clone()),
            (Some(_), Some(b)) if b.member => None,
            (Some(a), Some(b)) => Node::kept(a, a.member, a.children.difference_below(&b.children)),
            (None, _) => None,
        })
    }

    /// Walks both sets in step; `pick` makes a node of what stands at the same element in either.
    fn zip(&self, other: &Self, pick: Pick<'_>) -> Self {
        let (mut ours, mut theirs) = (self.nodes.iter().peekable(), other.nodes.iter().peekable());
        let mut nodes = Vec::with_capacity(self.nodes.len());
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return Self { nodes },
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(a), Some(b)) => a.element.cmp(&b.element),
            };
            let a = if order.is_le() { ours.next() } else { None };
            let b = if order.is_ge() { theirs.next() } else { None };
            nodes.extend(pick(a, b));
        }
    }

    /// Calls `visit` with every field, those of a level before those below it, which is the server's order in messages.
    pub fn each(&self, visit: &mut impl FnMut(&[PathElement])) {
        self.each_below(&mut Vec::new(), visit);
    }

    fn each_below(&self, way: &mut Vec<PathElement>, visit: &mut impl FnMut(&[PathElement])) {
        for node in self.nodes.iter().filter(|node| node.member) {
            way.push(node.element.clone());
            visit(way);
            way.pop();
        }
        for node in self.nodes.iter().filter(|node| !node.children.is_empty()) {
            way.push(node.element.clone());
            node.children.each_below(way, visit);
            way.pop();
        }
    }

    /// Lists every field, in the order of [`each`](Self::each).
    #[must_use]
    pub fn paths(&self) -> Vec<Path> {
        let mut paths = Vec::new();
        self.each(&mut |way| paths.push(Path(way.to_vec())));
        paths
    }
}

impl Node {
    fn kept(of: &Self, member: bool, children: FieldSet) -> Option<Self> {
        (member || !children.is_empty()).then(|| Self { element: of.element.clone(), member, children })
    }
}

/// One field a line.
impl fmt::Display for FieldSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, path) in self.paths().iter().enumerate() {
            if position > 0 {
                out.write_str("\n")?;
            }
            path.fmt(out)?;
        }
        Ok(())
    }
}
