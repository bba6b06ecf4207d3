//! The mirror module that `module install` without an archive gives: `modules/mirror`, built in.
use crate::config::archive::Tree;

const FILES: [(&str, u32, &str); 4] = [
    ("bin/prestart", 0o755, include_str!("../../../modules/mirror/bin/prestart")),
    ("bin/start_prim", 0o755, include_str!("../../../modules/mirror/bin/start_prim")),
    ("bin/stop_prim", 0o755, include_str!("../../../modules/mirror/bin/stop_prim")),
    ("conf/userconfig.xml", 0o644, include_str!("../../../modules/mirror/conf/userconfig.xml")),
];

pub(super) fn mirror() -> Tree {
    let mut tree = Tree::default();
    for (name, mode, text) in FILES {
        tree.put(name, mode, text.as_bytes().to_vec());
    }
    tree
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_template_is_the_module_in_the_project() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("modules/mirror");
        let folder = crate::config::archive::Tree::read_folder(&root).unwrap();
        assert_eq!(folder, super::mirror());
    }
}
