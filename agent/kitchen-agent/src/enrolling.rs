//! One try to get this box its certificate: the claim comes in, a new identity lies in the state folder or a trouble with
//! its next step comes out. Cut at any moment, it is simply made again.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use kitchen_core::enrolment::{Claim, EnrolRequest, Enrolment};
use kitchen_core::evidence::EvidenceKey;
use kitchen_core::time::Wall;
use kitchen_uplink::authority::{Access, AuthorityError};
use kitchen_uplink::identity::{Generation, IdentityError, IdentityFolder};

use crate::fault::Fault;
use crate::notice::{Notice, notice};
use crate::{board, clock, explain};

/// The user that the service runs as.
const USER: &str = "kitchen";

/// Why a box is not enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    pub notice: Notice,
    /// Another try may succeed without anybody doing something.
    pub is_passing: bool,
}

impl Trouble {
    /// Somebody has to do something.
    pub fn lasting(notice: Notice) -> Self {
        Self { notice, is_passing: false }
    }
}

impl From<IdentityError> for Trouble {
    fn from(error: IdentityError) -> Self {
        Self::lasting(explain::identity(&error))
    }
}

impl From<AuthorityError> for Trouble {
    fn from(error: AuthorityError) -> Self {
        tracing::warn!(error = %error, "not enrolled");
        let is_passing = match &error {
            AuthorityError::Refused { refusal, .. } => refusal.is_passing(),
            AuthorityError::Answer(_) | AuthorityError::Setup(_) => false,
            _ => true,
        };
        Self { notice: explain::authority(&error), is_passing }
    }
}

/// The state folder of a box, seen by who enrols it.
#[derive(Clone, Debug)]
pub struct Enrolling {
    pub state_dir: PathBuf,
    pub identity: IdentityFolder,
}

/// What came of it.
#[derive(Clone, Debug)]
pub enum Enrolled {
    /// Just now.
    New(Generation),
    /// With this claim, before.
    Already(Generation),
}

impl Enrolled {
    #[must_use]
    pub fn generation(&self) -> &Generation {
        match self {
            Self::New(generation) | Self::Already(generation) => generation,
        }
    }
}

impl Enrolling {
    #[must_use]
    pub fn of(state_dir: &Path) -> Self {
        Self { state_dir: state_dir.to_owned(), identity: IdentityFolder::of(state_dir) }
    }

    /// Keeps a claim that was found: from then on the box has its name.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn keep(&self, claim: &Claim) -> Result<(), Trouble> {
        self.identity.keep_claim(claim)?;
        self.give_to_owner()
    }

    /// Enrols with the claim that is kept, over the network.
    ///
    /// # Errors
    /// Why that did not succeed.
    pub async fn enrol(&self) -> Result<Enrolled, Trouble> {
        let outcome = self.try_once().await;
        self.note(outcome.as_ref().err());
        outcome
    }

    /// Why the newest try did not succeed.
    #[must_use]
    pub fn last_trouble(&self) -> Option<Notice> {
        serde_json::from_slice(&fs::read(self.trouble_file()).ok()?).ok()
    }

    async fn try_once(&self) -> Result<Enrolled, Trouble> {
        let _alone = self.begin()?;
        let Some((claim, request)) = self.request()? else { return self.already() };
        let access = Access { authority: claim.authority.clone(), not_before: not_before(&claim) };
        let answer = access.enrol(&request).await?;
        self.accept(&claim, &answer)
    }

    /// What `enrol export` writes; `None` when the box is enrolled with its claim already.
    ///
    /// # Errors
    /// When there is no claim, or no key can be made.
    pub fn export(&self) -> Result<Option<EnrolRequest>, Trouble> {
        let _alone = self.begin()?;
        let request = self.request()?.map(|(_, request)| request);
        self.give_to_owner()?;
        Ok(request)
    }

    /// Takes the authority's answer from a file.
    ///
    /// # Errors
    /// When it is not for this box and its claim.
    pub fn import(&self, text: &[u8]) -> Result<Enrolled, Trouble> {
        let _alone = self.begin()?;
        let answer: Enrolment = serde_json::from_slice(text)
            .map_err(|_| Trouble::lasting(notice!("enrol-answer-unreadable", Fault::EnrolmentAnswer)))?;
        let Some(claim) = self.identity.claim()? else { return self.already() };
        claim.authority.check(&answer, &claim.device).map_err(AuthorityError::Answer)?;
        let enrolled = self.accept(&claim, &answer)?;
        self.note(None);
        Ok(enrolled)
    }

    /// The claim in use and the request by it.
    fn request(&self) -> Result<Option<(Claim, EnrolRequest)>, Trouble> {
        let Some(claim) = self.identity.claim()? else {
            return match self.identity.current()? {
                Some(_) => Ok(None),
                None => Err(Trouble::lasting(notice!("enrol-no-claim", Fault::ClaimMissing))),
            };
        };
        if self.identity.current()?.is_some_and(|current| current.claim_id == claim.claim_id) {
            // Cut between the new identity and the end of its claim.
            self.identity.wipe_claim()?;
            return Ok(None);
        }
        let serial = board_serial()?;
        let csr = self.identity.request(&claim.device)?;
        let key = self.evidence_key()?;
        let request = EnrolRequest::new(claim.clone(), &serial, csr, env!("CARGO_PKG_VERSION"), &key);
        Ok(Some((claim, request)))
    }

    /// For `check`; a disk that does not take it has told its trouble elsewhere.
    pub fn note(&self, trouble: Option<&Trouble>) {
        let path = self.trouble_file();
        let noted = match trouble.map(|trouble| serde_json::to_vec(&trouble.notice)) {
            Some(Ok(text)) => fs::write(&path, text).and_then(|()| match owner(&self.state_dir) {
                Some((user, group)) => std::os::unix::fs::lchown(&path, Some(user), Some(group)),
                None => Ok(()),
            }),
            _ => fs::remove_file(&path),
        };
        if let Err(error) =
            noted.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
        {
            tracing::debug!(path = %path.display(), %error, "the trouble can't be noted");
        }
    }

    fn trouble_file(&self) -> PathBuf {
        self.state_dir.join("enrolment-trouble.json")
    }

    fn accept(&self, claim: &Claim, answer: &Enrolment) -> Result<Enrolled, Trouble> {
        let generation = self.identity.accept(answer, &claim.claim_id)?;
        fail::fail_point!("identity-in-use");
        // As long as the claim is there, a next try gives it away.
        self.give_to_owner()?;
        self.identity.wipe_claim()?;
        tracing::info!(device = %answer.device, until = %generation.validity.not_after, "enrolled");
        Ok(Enrolled::New(generation))
    }

    /// The identity that there is.
    ///
    /// # Errors
    /// When there is none, and no claim for one.
    pub fn already(&self) -> Result<Enrolled, Trouble> {
        let missing = || Trouble::lasting(notice!("enrol-no-claim", Fault::ClaimMissing));
        self.identity.current()?.map(Enrolled::Already).ok_or_else(missing)
    }

    /// The key that signs the box's records; made here when the agent has not yet.
    ///
    /// # Errors
    /// When it can't be read or written.
    pub fn evidence_key(&self) -> Result<EvidenceKey, Trouble> {
        kitchen_store::evidence_key(&self.state_dir.join("store")).map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "no evidence key");
            Trouble::lasting(explain::store(&error))
        })
    }

    /// Puts an identity in use that a power cut came before; whoever is enrolling now does that by himself.
    ///
    /// # Errors
    /// When the identity can't be read or written.
    pub fn resume(&self) -> Result<(), Trouble> {
        if !self.identity.path().exists() {
            return Ok(());
        }
        match self.lock_file()?.try_lock() {
            Ok(()) => Ok(self.identity.resume()?),
            Err(TryLockError::WouldBlock) => Ok(()),
            Err(TryLockError::Error(source)) => Err(self.not_locked(source)),
        }
    }

    /// One try at a time on this box, as long as the file is held: first boot, a technician and the agent may all want to.
    ///
    /// # Errors
    /// When the identity can't be read or written.
    pub fn begin(&self) -> Result<File, Trouble> {
        let file = self.lock_file()?;
        file.lock().map_err(|source| self.not_locked(source))?;
        self.identity.resume()?;
        self.give_to_owner()?;
        Ok(file)
    }

    fn lock_file(&self) -> Result<File, Trouble> {
        let made =
            fs::create_dir_all(&self.state_dir).and_then(|()| File::create(self.state_dir.join("enrolling.lock")));
        made.map_err(|source| self.not_locked(source))
    }

    fn not_locked(&self, source: io::Error) -> Trouble {
        let path = self.identity.path().to_owned();
        IdentityError::File { what: "lock", path, source }.into()
    }

    /// What root makes here is for the agent to read.
    fn give_to_owner(&self) -> Result<(), Trouble> {
        let Some(owner) = owner(&self.state_dir) else { return Ok(()) };
        let made = ["", "enrolling.lock", "store", "store/evidence.key"].map(|name| self.state_dir.join(name));
        for path in made.into_iter().filter(|path| path.exists()) {
            let given = std::os::unix::fs::lchown(&path, Some(owner.0), Some(owner.1));
            given.map_err(|source| IdentityError::File { what: "give away", path, source })?;
        }
        Ok(self.identity.give_to_owner(owner)?)
    }
}

/// The number by which the authority knows this board.
///
/// # Errors
/// When it tells none.
pub fn board_serial() -> Result<String, Trouble> {
    board::serial().ok_or_else(|| Trouble::lasting(notice!("enrol-no-serial", Fault::BoardUnknown)))
}

/// No certificate of a box's authority is older than the claim that names it.
fn not_before(claim: &Claim) -> Wall {
    clock::built().max(claim.issued)
}

/// Whom the state belongs to, where root works on it: its owner so far, else the service's user.
fn owner(state_dir: &Path) -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let held = fs::metadata(state_dir).ok().map(|found| (found.uid(), found.gid()));
    held.filter(|(user, _)| *user != 0).or_else(|| user(&fs::read_to_string("/etc/passwd").ok()?))
}

fn user(passwd: &str) -> Option<(u32, u32)> {
    let line = passwd.lines().find(|line| line.split(':').next() == Some(USER))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_service_s_user_is_found_among_others() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nkitchenette:x:1:1::/:\nkitchen:x:997:996:Kitchen agent:/:/\n";
        assert_eq!(user(passwd), Some((997, 996)));
        assert_eq!(user("root:x:0:0::/:/bin/sh\n"), None);
    }
}
