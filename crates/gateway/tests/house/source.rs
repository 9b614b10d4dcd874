//! The sources of a crate, parsed: which file imports which, and how long everything is.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, ItemFn, ItemMod, Signature, UseTree};

/// One `.rs` file of a crate's `src`.
pub(crate) struct SourceFile {
    /// Its path below `src`, such as `http/door.rs`.
    pub name: String,
    /// The files of the same crate that it imports, tests left out.
    pub imports: BTreeSet<String>,
    /// The types and traits that it defines for other files, tests left out; `true`: for other crates too.
    pub types: Vec<(String, bool)>,
    /// Its constants and statics, those inside functions included, tests left out: name, and the value as written.
    pub constants: Vec<(String, String)>,
    /// Its lengths of time, tests left out: the constant, or the function or static that a literal stands in, and the value
    /// as written.
    pub periods: Vec<(String, String)>,
    /// Fields and statics that hold a lock, tests left out: `Type::field`, or the type where its field has no name.
    pub locks: Vec<String>,
}

/// Every file of a crate, the binary's own left out: it is a crate of its own.
pub(crate) fn files(crate_name: &str) -> Vec<SourceFile> {
    let src = directory(crate_name).join("src");
    let mut paths = Vec::new();
    walk(&src, &mut paths);
    let mut parsed = Vec::new();
    for path in &paths {
        let name = path.strip_prefix(&src).expect("below src").to_str().expect("UTF-8").to_owned();
        let text = fs::read_to_string(path).expect("a source can be read");
        let file = syn::parse_file(&text).unwrap_or_else(|error| panic!("{crate_name}/{name}: {error}"));
        parsed.push((name, file));
    }
    let modules: BTreeMap<Vec<String>, String> =
        parsed.iter().map(|(name, _)| (module_of(name), name.clone())).collect();
    let tests: BTreeSet<Vec<String>> =
        parsed.iter().flat_map(|(name, file)| test_modules(&module_of(name), &file.items)).collect();
    let mut handed_on = BTreeMap::new();
    for (name, file) in &parsed {
        let uses = file.items.iter().filter_map(|item| match item {
            Item::Use(item) if !matches!(item.vis, syn::Visibility::Inherited) => Some(&item.tree),
            _ => None,
        });
        uses.for_each(|tree| {
            flatten(tree, &mut Vec::new(), &mut |path, shown| {
                handed_on.insert((name.clone(), shown), path.to_vec());
            })
        });
    }
    let modules = Modules { files: modules, handed_on };
    let is_test = |name: &str| tests.iter().any(|test| module_of(name).starts_with(test));
    let read = |(name, file): (String, syn::File)| {
        let mut reader = Reader::new(&modules, module_of(&name));
        if !is_test(&name) {
            reader.visit_file(&file);
        }
        reader.found.imports.remove(&name);
        SourceFile { name, ..reader.found }
    };
    parsed.into_iter().map(read).collect()
}

/// The functions of a file: name, first line, lines.
pub(crate) fn functions(text: &str) -> Vec<(String, usize, usize)> {
    struct Functions(Vec<(String, usize, usize)>);
    impl Functions {
        fn add(&mut self, name: &Signature, span: proc_macro2::Span) {
            let (start, end) = (span.start().line.max(name.span().start().line), span.end().line);
            self.0.push((name.ident.to_string(), start, end - start + 1));
        }
    }
    impl<'ast> Visit<'ast> for Functions {
        fn visit_item_fn(&mut self, item: &'ast ItemFn) {
            self.add(&item.sig, item.span());
            visit::visit_item_fn(self, item);
        }

        fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
            self.add(&item.sig, item.span());
            visit::visit_impl_item_fn(self, item);
        }
    }
    let mut functions = Functions(Vec::new());
    functions.visit_file(&syn::parse_file(text).expect("a source can be parsed"));
    functions.0
}

/// Where a crate is.
pub(crate) fn directory(crate_name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(crate_name)
}

/// All `.rs` files below a directory, in order.
pub(crate) fn walk(directory: &Path, paths: &mut Vec<PathBuf>) {
    let entries = fs::read_dir(directory).expect("a directory can be read");
    let mut entries: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            walk(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !path.ends_with("src/main.rs")
        {
            paths.push(path);
        }
    }
}

/// The module of a file: `http/mod.rs` is `[http]`, `http/door.rs` is `[http, door]`, `lib.rs` is `[]`.
fn module_of(name: &str) -> Vec<String> {
    let mut parts: Vec<String> = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if parts.last().is_some_and(|last| last == "mod" || (parts.len() == 1 && last == "lib")) {
        parts.pop();
    }
    parts
}

/// The modules of a file that are compiled for tests alone.
fn test_modules(module: &[String], items: &[Item]) -> Vec<Vec<String>> {
    let child = |item: &Item| match item {
        Item::Mod(child) if is_for_tests(&child.attrs) => {
            Some(module.iter().cloned().chain([child.ident.to_string()]).collect())
        }
        _ => None,
    };
    items.iter().filter_map(child).collect()
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let is_cfg_test = attribute.path().is_ident("cfg")
            && attribute.meta.require_list().is_ok_and(|list| list.tokens.to_string() == "test");
        is_cfg_test || attribute.path().is_ident("test")
    })
}

/// The modules of a crate.
struct Modules {
    /// The file of each.
    files: BTreeMap<Vec<String>, String>,
    /// What a file only hands on: the file and the name there, and the path from which it has it.
    handed_on: BTreeMap<(String, String), Vec<String>>,
}

impl Modules {
    /// The file in which that is defined to which a path leads, seen from a module. A path that leads out of the crate
    /// leads to none.
    fn resolve(&self, module: &[String], path: &[String]) -> Option<String> {
        let mut absolute = match path.first().map(String::as_str)? {
            "crate" => Vec::new(),
            "self" | "super" => module.to_vec(),
            first => {
                let child: Vec<String> = module.iter().cloned().chain([first.to_owned()]).collect();
                if !self.files.contains_key(&child) {
                    return None;
                }
                module.to_vec()
            }
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => {
                    absolute.pop();
                }
                part => absolute.push(part.to_owned()),
            }
        }
        // What follows the longest module is a name in it.
        let end = (0..=absolute.len()).rev().find(|end| self.files.contains_key(&absolute[..*end]))?;
        let file = &self.files[&absolute[..end]];
        let name = absolute.get(end);
        let source = name.and_then(|name| self.handed_on.get(&(file.clone(), name.clone())));
        source.and_then(|path| self.resolve(&absolute[..end], path)).or_else(|| Some(file.clone()))
    }
}

/// Calls `found` with each path of a `use`, and the name by which it is known then.
fn flatten(tree: &UseTree, path: &mut Vec<String>, found: &mut impl FnMut(&[String], String)) {
    let mut at = |name: &syn::Ident, path: &mut Vec<String>, known: String| {
        path.push(name.to_string());
        found(path, known);
        path.pop();
    };
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            flatten(&part.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) => at(&name.ident, path, name.ident.to_string()),
        UseTree::Rename(name) => at(&name.ident, path, name.rename.to_string()),
        UseTree::Glob(_) => found(path, "*".to_owned()),
        UseTree::Group(group) => group.items.iter().for_each(|tree| flatten(tree, path, found)),
    }
}

struct Reader<'a> {
    modules: &'a Modules,
    /// The module that is being read; deeper than the file's own inside an inline module.
    module: Vec<String>,
    /// How many functions enclose the place.
    depth: usize,
    /// The type whose fields are being read.
    holder: String,
    /// The functions and statics around the place.
    around: Vec<String>,
    /// Whether the place is in the value of a constant.
    is_constant: bool,
    found: SourceFile,
}

impl<'a> Reader<'a> {
    fn new(modules: &'a Modules, module: Vec<String>) -> Self {
        let found = SourceFile {
            name: String::new(),
            imports: BTreeSet::new(),
            types: Vec::new(),
            constants: Vec::new(),
            periods: Vec::new(),
            locks: Vec::new(),
        };
        Self {
            modules,
            module,
            depth: 0,
            holder: String::new(),
            around: Vec::new(),
            is_constant: false,
            found,
        }
    }

    /// Notes the file that a path leads to.
    fn import(&mut self, path: &[String]) {
        self.found.imports.extend(self.modules.resolve(&self.module, path));
    }

    fn constant(&mut self, name: &syn::Ident, kind: &syn::Type, value: &syn::Expr) {
        let (name, value) = (name.to_string(), quote_of(value));
        if quote_of(kind).ends_with("Duration") || name.ends_with("_MS") || name.ends_with("_SECONDS") {
            self.found.periods.push((name.clone(), value.clone()));
        }
        self.found.constants.push((name, value));
    }

    fn define(&mut self, name: &syn::Ident, visibility: &syn::Visibility) {
        self.holder = name.to_string();
        if self.depth == 0 && !matches!(visibility, syn::Visibility::Inherited) {
            let is_for_all = matches!(visibility, syn::Visibility::Public(_));
            self.found.types.push((name.to_string(), is_for_all));
        }
    }
}

fn is_lock(kind: &syn::Type) -> bool {
    let text = quote_of(kind);
    ["Mutex <", "RwLock <"].iter().any(|lock| text.contains(lock))
}

/// The text of a piece of source, with single spaces.
pub(crate) fn quote_of(node: &impl quote::ToTokens) -> String {
    node.to_token_stream().to_string()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            Item::Struct(item) => &item.attrs,
            Item::Const(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if is_for_tests(attributes) {
            return;
        }
        match item {
            Item::Struct(item) => self.define(&item.ident, &item.vis),
            Item::Enum(item) => self.define(&item.ident, &item.vis),
            Item::Trait(item) => self.define(&item.ident, &item.vis),
            Item::Type(item) => self.define(&item.ident, &item.vis),
            Item::Const(item) => self.constant(&item.ident, &item.ty, &item.expr),
            Item::Static(item) if is_lock(&item.ty) => self.found.locks.push(item.ident.to_string()),
            // What is only handed on is not used here.
            Item::Use(item) if matches!(item.vis, syn::Visibility::Inherited) => {
                flatten(&item.tree, &mut Vec::new(), &mut |path, _| self.import(path));
            }
            _ => {}
        }
        if let Item::Static(item) = item {
            self.around.push(item.ident.to_string());
        }
        let was_constant = std::mem::replace(&mut self.is_constant, matches!(item, Item::Const(_)));
        visit::visit_item(self, item);
        self.is_constant = was_constant;
        if matches!(item, Item::Static(_)) {
            self.around.pop();
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        let is_literal = matches!(call.args.first(), Some(syn::Expr::Lit(_)));
        if is_literal && !self.is_constant && quote_of(&call.func).starts_with("Duration :: from_") {
            let name = self.around.last().cloned().unwrap_or_default();
            self.found.periods.push((name, quote_of(call)));
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if item.content.is_some() {
            self.module.push(item.ident.to_string());
            visit::visit_item_mod(self, item);
            self.module.pop();
        }
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if is_lock(&field.ty) {
            let name = field.ident.as_ref().map(|name| format!("::{name}"));
            self.found.locks.push(format!("{}{}", self.holder, name.unwrap_or_default()));
        }
        visit::visit_field(self, field);
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.depth += 1;
        self.around.push(item.sig.ident.to_string());
        visit::visit_item_fn(self, item);
        self.around.pop();
        self.depth -= 1;
    }

    fn visit_impl_item_const(&mut self, item: &'ast syn::ImplItemConst) {
        self.constant(&item.ident, &item.ty, &item.expr);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.depth += 1;
        self.around.push(item.sig.ident.to_string());
        visit::visit_impl_item_fn(self, item);
        self.around.pop();
        self.depth -= 1;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 && parts.first().is_some_and(|first| first == "crate" || first == "super") {
            self.import(&parts);
        }
        visit::visit_path(self, path);
    }
}
