//! A module on its way to another node: name, id and archive as bytes (`-E`).
//!
//! ```text
//! "LOCKSTEP MODULE\n" | version u32 | id u32 | name length u32 | name | archive length u64 | archive
//! | blake3 of everything before, 32 bytes                               (integers little-endian)
//! ```
use super::*;
use crate::config::archive::Tree;

const MAGIC: &[u8] = b"LOCKSTEP MODULE\n";
const VERSION: u32 = 1;

impl ModuleStore {
    /// Name, id and edited copy of a module as bytes for another node.
    pub fn export(&self, module: &ModuleName) -> Result<Vec<u8>, StoreError> {
        let record = self.record(module)?;
        let archive = self.edited_tree(module)?.to_bytes()?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(record.id.to_le_bytes());
        bytes.extend((module.as_str().len() as u32).to_le_bytes());
        bytes.extend(module.as_str().as_bytes());
        bytes.extend((archive.len() as u64).to_le_bytes());
        bytes.extend(archive);
        let hash = blake3::hash(&bytes);
        bytes.extend(hash.as_bytes());
        Ok(bytes)
    }

    /// Installs what another node exported, with the same id, over an older copy if there is one.
    pub fn import(&self, bytes: &[u8]) -> Result<ModuleName, StoreError> {
        let (name, id, tree) = parts(bytes)?;
        self.install_tree(&name, tree, Some(id), true)?;
        Ok(name)
    }
}

/// Name, id and files of what another node exported.
pub(super) fn parts(bytes: &[u8]) -> Result<(ModuleName, u32, Tree), StoreError> {
    let (name, id, archive) = parse(bytes)
        .map_err(|why| StoreError::Refused(format!("the module from the other node {why}")))?;
    let label = PathBuf::from(format!("{name} from the other node"));
    let tree = Tree::from_bytes(&label, archive)?;
    Ok((name, id, tree))
}

fn parse(bytes: &[u8]) -> Result<(ModuleName, u32, &[u8]), String> {
    let cut = || "is cut off: send it again".to_owned();
    let (content, hash) = bytes.split_last_chunk::<32>().ok_or_else(cut)?;
    let rest = content.strip_prefix(MAGIC).ok_or("is not one".to_owned())?;
    let (version, rest) = number(rest).ok_or_else(cut)?;
    if version != VERSION {
        return Err(format!("has version {version}, this node reads {VERSION}: upgrade the older"));
    }
    if blake3::hash(content).as_bytes() != hash {
        return Err("is damaged: send it again".to_owned());
    }
    let (id, rest) = number(rest).ok_or_else(cut)?;
    let (length, rest) = number(rest).ok_or_else(cut)?;
    let (name, rest) = rest.split_at_checked(length as usize).ok_or_else(cut)?;
    let name = std::str::from_utf8(name).map_err(|_| "has a broken name".to_owned())?;
    let name = ModuleName::new(name).map_err(|error| format!("has a broken name: {error}"))?;
    let (length, archive) = rest.split_first_chunk::<8>().ok_or_else(cut)?;
    if u64::from_le_bytes(*length) != archive.len() as u64 {
        return Err(cut());
    }
    Ok((name, id, archive))
}

fn number(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    Some((u32::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn nothing_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse(&bytes).is_err());
            let mut framed = MAGIC.to_vec();
            framed.extend(VERSION.to_le_bytes());
            framed.extend(&bytes);
            let hash = blake3::hash(&framed);
            framed.extend(hash.as_bytes());
            let _ = parse(&framed);
        }
    }
}
