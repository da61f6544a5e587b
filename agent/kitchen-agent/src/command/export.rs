//! `alerts export`: one alert as a folder that proves itself: records, pictures, clips, the chain, the box's public key,
//! and a page that shows it all in any browser, offline.

mod page;

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use kitchen_core::config::Config;
use kitchen_core::evidence::{EvidenceKey, Hash};
use kitchen_core::exported::{
    self, CERTIFICATE, Examined, FileEntry, KEY, MANIFEST, Manifest, MissingFile, MissingReason, Named, ORIGINAL, PAGE,
    SIGNATURE, SNAPSHOT, examine, named_files,
};
use kitchen_core::time::Clock as _;
use kitchen_store::{AlertEvidence, AlertRow, EvidenceFile, Store};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use self::page::Page;
use super::{alerts, print_json, print_line, refused};
use crate::cli::{Cli, Exit};
use crate::clock::SystemClock;
use crate::exported_folder::{self, SaidFlaw, said};
use crate::text::text;
use crate::{config_file, notice};

/// Where an enrolment leaves who vouches for the evidence key.
const OWN_CERTIFICATE: &str = "identity/evidence.pem";

pub fn run(cli: &Cli, id: &str, folder: &Path, with_original: bool) -> Result<Exit> {
    let config = config_file::load(cli)?;
    let reader = Store::read_only(&config.device.state_dir.join("store"))?;
    let alert = match alerts::find(&reader, id)? {
        Ok(alert) => alert,
        Err(exit) => return Ok(exit),
    };
    let folder = std::path::absolute(folder)?;
    match folder.read_dir().map(|mut entries| entries.next().is_some()) {
        Ok(true) => {
            return Ok(refused(&text!("export-not-empty", path = folder.display()), Exit::CouldNotCheck));
        }
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return Ok(refused(&text!("export-no-folder", path = folder.display()), Exit::CouldNotCheck));
        }
        _ => {}
    }
    let evidence = reader.alert_evidence(&alert.alert_id)?;
    let export = Export::begin(&folder, with_original)?;
    let (manifest, examined) = export.write(&config, &alert, &evidence)?;
    export.finish(&folder)?;
    let flaws: Vec<SaidFlaw> = examined.flaws.iter().map(said).collect();
    if cli.json {
        print_json(&document(&folder, &manifest, &examined, &flaws))?;
    } else {
        tell(&folder, &manifest, &flaws);
    }
    Ok(if flaws.is_empty() { Exit::Done } else { Exit::ProblemFound })
}

fn document(folder: &Path, manifest: &Manifest, examined: &Examined, flaws: &[SaidFlaw]) -> Value {
    json!({
        "folder": folder, "alert_id": manifest.alert_id, "device": manifest.device, "key_id": manifest.key_id,
        "files": manifest.files, "missing": manifest.missing, "chain_heads": examined.heads, "flaws": flaws,
    })
}

fn tell(folder: &Path, manifest: &Manifest, flaws: &[SaidFlaw]) {
    for FileEntry { name, bytes, .. } in &manifest.files {
        print_line(&format!("{bytes:>9}  {name}"));
    }
    for MissingFile { name, reason, .. } in &manifest.missing {
        print_line(&exported_folder::missing(name, *reason));
    }
    for SaidFlaw { file, text, .. } in flaws {
        print_line(&format!("✗ {}: {text}", file.as_deref().unwrap_or(MANIFEST)));
    }
    print_line(&text!("export-written", path = folder.display()));
    print_line(&text!("export-next", path = folder.display()));
}

/// A folder under way beside its place; it goes unless it is finished.
struct Export {
    folder: PathBuf,
    with_original: bool,
    is_finished: bool,
}

impl Export {
    fn begin(target: &Path, with_original: bool) -> Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let folder = target.with_file_name(format!(".{name}.{}", std::process::id()));
        fs::create_dir_all(&folder).with_context(|| unwritable(&folder))?;
        Ok(Self { folder, with_original, is_finished: false })
    }

    fn write(&self, config: &Config, alert: &AlertRow, evidence: &AlertEvidence) -> Result<(Manifest, Examined)> {
        let key = evidence.key.public();
        let now = SystemClock::new().stamp().wall;
        let parsed = evidence.records.iter().filter_map(|(_, bytes)| serde_json::from_slice::<Value>(bytes).ok());
        let records: Vec<Value> = parsed.collect();
        // A box may have got another id since.
        let device = records.first().and_then(|record| record["device"].as_str()).unwrap_or(&config.device.id);
        let mut manifest = Manifest::new(device, alert.alert_id.clone(), now, env!("CARGO_PKG_VERSION"), &key);
        manifest.chain.clone_from(&evidence.chain);
        for (entry, bytes) in &evidence.records {
            manifest.files.push(self.put(&entry.file, bytes)?);
            manifest.records.push(entry.clone());
        }
        for named in named_files(&records) {
            self.put_evidence(named, evidence, &mut manifest)?;
        }
        manifest.files.push(self.put(KEY, key.to_pem().as_bytes())?);
        if let Ok(certificate) = fs::read(config.device.state_dir.join(OWN_CERTIFICATE)) {
            manifest.files.push(self.put(CERTIFICATE, &certificate)?);
        }
        let page = Page { config, alert, manifest: &manifest, records: &records }.to_html();
        manifest.files.push(self.put(PAGE, page.as_bytes())?);
        self.sign(&manifest, &evidence.key)?;
        let written = exported_folder::read(&self.folder)?;
        Ok((manifest, examine(&written, Some(&key))))
    }

    /// A picture or clip that a record names, or why it is not in the folder.
    fn put_evidence(&self, named: Named, evidence: &AlertEvidence, manifest: &mut Manifest) -> Result<()> {
        let Named { file, sha256, .. } = named;
        let stored = match file.as_str() {
            SNAPSHOT => evidence.snapshot.as_ref(),
            ORIGINAL => evidence.original.as_ref(),
            _ => evidence.clips.iter().find(|(clip_id, _)| exported::clip_file(clip_id) == file).map(|(_, clip)| clip),
        };
        let is_kept = file == ORIGINAL && !self.with_original;
        let content = match stored.filter(|_| !is_kept) {
            Some(EvidenceFile { path, is_evicted: false }) => match fs::read(path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| text!("verify-unreadable", path = path.display()));
                }
                read => read.ok(),
            },
            _ => None,
        };
        match content {
            Some(content) => manifest.files.push(self.put(&file, &content)?),
            None => {
                let reason = match stored {
                    Some(stored) if stored.is_evicted => MissingReason::Evicted,
                    Some(_) if is_kept => MissingReason::Kept,
                    _ => MissingReason::Lost,
                };
                manifest.missing.push(MissingFile { name: file, sha256, reason });
            }
        }
        Ok(())
    }

    fn sign(&self, manifest: &Manifest, key: &EvidenceKey) -> Result<()> {
        let mut bytes = serde_json::to_vec_pretty(manifest)?;
        bytes.push(b'\n');
        self.put(MANIFEST, &bytes)?;
        self.put(SIGNATURE, &key.sign(&bytes)).map(drop)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<FileEntry> {
        let path = self.folder.join(name);
        let write = || -> std::io::Result<()> {
            let mut file = File::create(&path)?;
            file.write_all(bytes)?;
            file.sync_all()
        };
        write().with_context(|| unwritable(&path))?;
        let sha256 = Hash(Sha256::digest(bytes).into());
        Ok(FileEntry { name: name.to_owned(), bytes: bytes.len() as u64, sha256 })
    }

    /// Puts the folder in its place.
    fn finish(mut self, target: &Path) -> Result<()> {
        fs::rename(&self.folder, target).with_context(|| unwritable(target))?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        if !self.is_finished {
            // What can't be removed is hidden, and named after a process that has ended.
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

fn unwritable(path: &Path) -> notice::Notice {
    notice::notice!("file-unwritable", None, path = path.display())
}
