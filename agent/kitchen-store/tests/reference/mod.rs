//! What the outbox should do, as lists that are searched from end to end: no index, no file, no database.
//! A message is known by its place in the list; the ids that the store gives are the test's business.

use kitchen_core::outbox::OutboxKind;

const DAY_MS: u64 = 86_400_000;
const BEGINNING: i64 = 1_795_564_800_000;
/// The store opens so long after the kernel.
const START_MS: u64 = 20_000;

/// What somebody does to the store. Numbers pick a message or an alert, and one beyond the last is unknown.
#[derive(Clone, Debug)]
pub enum Step {
    Open { is_grave: bool, picture: Option<u8> },
    Update { alert: usize },
    Close { alert: usize },
    Clip { alert: usize, seed: u8 },
    Record,
    Sent(Vec<usize>),
    Receipted(Vec<usize>),
    ClipStored(usize),
    ClipRejected(usize),
    SetAside(usize),
    Requeue(usize),
    Drop(usize),
    Expire,
    Tidy { clips: usize, pictures: usize, forgets: bool },
    Reopen { is_new_boot: bool },
    Pass { ms: u64 },
    ClockJumps { ms: i64 },
    ClockIsTrusted(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    Waiting,
    SetAside,
    Gone,
}

/// What a record of the box must say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    Expired(OutboxKind, Vec<usize>),
    SetAside(usize, OutboxKind, &'static str),
    Evicted(&'static str, Vec<usize>),
    Dropped(usize, OutboxKind),
}

#[derive(Clone, Debug)]
pub struct Message {
    pub kind: OutboxKind,
    pub priority: u8,
    pub place: Place,
    pub alert: Option<usize>,
    /// The envelope's type.
    pub says: &'static str,
    pub report: Option<Report>,
    /// Of a picture or clip: what fills it, and whether its file is there.
    pub seed: u8,
    pub has_file: bool,
    pub attempts: u32,
    pub sent: Option<i64>,
    /// A record remembers when it was last sent, wherever it is now.
    pub record_sent: Option<i64>,
    pub receipted: Option<i64>,
    created_wall: Option<i64>,
    created_uptime: u64,
    boot: u32,
}

#[derive(Clone, Debug)]
pub struct Alert {
    pub is_grave: bool,
    pub is_closed: bool,
    pub is_forgotten: bool,
}

/// The store as it should be.
#[derive(Clone, Debug)]
pub struct Reference {
    pub messages: Vec<Message>,
    pub alerts: Vec<Alert>,
    pub boot: u32,
    pub mono: u64,
    pub wall: i64,
    pub is_trusted: bool,
    /// Of all earlier boots, as far as the store noted it.
    uptime_before: u64,
    uptime_noted: u64,
    least_offset: Option<i64>,
}

impl Default for Reference {
    fn default() -> Self {
        Self {
            messages: Vec::new(),
            alerts: Vec::new(),
            boot: 1,
            mono: START_MS,
            wall: BEGINNING,
            is_trusted: true,
            uptime_before: 0,
            uptime_noted: 0,
            least_offset: None,
        }
    }
}

impl Reference {
    pub fn pick_message(&self, number: usize) -> usize {
        number % (self.messages.len() + 1)
    }

    pub fn pick_alert(&self, number: usize) -> usize {
        number % (self.alerts.len() + 1)
    }

    /// Messages that wait, in the contract's order.
    pub fn waiting(&self) -> Vec<usize> {
        let mut waiting = self.in_place(Place::Waiting);
        // Stable: within a priority the oldest stays first.
        waiting.sort_by_key(|number| self.messages[*number].priority);
        waiting
    }

    pub fn in_place(&self, place: Place) -> Vec<usize> {
        (0..self.messages.len()).filter(|number| self.messages[*number].place == place).collect()
    }

    pub fn of_alert(&self, alert: usize) -> impl Iterator<Item = (usize, &Message)> {
        self.messages.iter().enumerate().filter(move |(_, message)| message.alert == Some(alert))
    }

    pub fn take(&mut self, step: &Step) {
        match step {
            Step::Open { is_grave, picture } => {
                let alert = self.alerts.len();
                self.alerts.push(Alert { is_grave: *is_grave, is_closed: false, is_forgotten: false });
                self.put_alert_record(alert, "alert.opened");
                if let Some(seed) = picture {
                    let picture = self.put(OutboxKind::Snapshot, 0, Some(alert), "");
                    self.put_file(picture, *seed);
                }
            }
            Step::Update { alert } => {
                if let Some(alert) = self.known(*alert) {
                    self.put_alert_record(alert, "alert.updated");
                }
            }
            Step::Close { alert } => {
                if let Some(alert) = self.known(*alert).filter(|alert| !self.alerts[*alert].is_closed) {
                    self.alerts[alert].is_closed = true;
                    self.put_alert_record(alert, "alert.closed");
                }
            }
            Step::Clip { alert, seed } => {
                if let Some(alert) = self.known(*alert) {
                    let tier = if self.alerts[alert].is_grave { 1 } else { 3 };
                    let clip = self.put(OutboxKind::Clip, tier, Some(alert), "");
                    self.put_file(clip, *seed);
                    self.put_alert_record(alert, "alert.clip");
                }
            }
            Step::Record => drop(self.put(OutboxKind::Record, 0, None, "budget.month")),
            Step::Sent(numbers) => numbers.iter().for_each(|number| self.send(*number)),
            Step::Receipted(numbers) => numbers.iter().for_each(|number| self.receipt(*number, false)),
            Step::ClipStored(number) => self.receipt(*number, true),
            Step::ClipRejected(number) => self.reject(*number),
            Step::SetAside(number) => self.set_aside(*number, "failed alone"),
            Step::Requeue(number) => {
                if let Some(message) = self.in_outbox(*number) {
                    (message.place, message.attempts, message.sent) = (Place::Waiting, 0, None);
                }
            }
            Step::Drop(number) => {
                let number = self.pick_message(*number);
                if let Some(message) = self.in_outbox(number) {
                    message.place = Place::Gone;
                    let kind = message.kind;
                    self.report("loss", Report::Dropped(number, kind));
                }
                self.note_uptime();
            }
            Step::Expire => self.expire(),
            Step::Tidy { clips, pictures, forgets } => self.tidy(*clips, *pictures, *forgets),
            Step::Reopen { is_new_boot: false } => {}
            Step::Reopen { is_new_boot: true } => {
                self.boot += 1;
                self.uptime_before += self.uptime_noted;
                (self.uptime_noted, self.least_offset, self.mono) = (0, None, START_MS);
            }
            Step::Pass { ms } => {
                self.mono += ms;
                self.wall += i64::try_from(*ms).expect("small");
            }
            Step::ClockJumps { ms } => self.wall += ms,
            Step::ClockIsTrusted(is_trusted) => self.is_trusted = *is_trusted,
        }
    }

    fn known(&self, alert: usize) -> Option<usize> {
        let alert = self.pick_alert(alert);
        self.alerts.get(alert).filter(|known| !known.is_forgotten).map(|_| alert)
    }

    fn in_outbox(&mut self, number: usize) -> Option<&mut Message> {
        let number = self.pick_message(number);
        self.messages.get_mut(number).filter(|message| message.place != Place::Gone)
    }

    fn put_alert_record(&mut self, alert: usize, says: &'static str) {
        let tier = if self.alerts[alert].is_grave { 1 } else { 3 };
        self.put(OutboxKind::Alert, tier, Some(alert), says);
    }

    fn put(&mut self, kind: OutboxKind, tier: u8, alert: Option<usize>, says: &'static str) -> usize {
        self.note_uptime();
        self.messages.push(Message {
            kind,
            priority: kind.priority(tier),
            place: Place::Waiting,
            alert,
            says,
            report: None,
            seed: 0,
            has_file: false,
            attempts: 0,
            sent: None,
            record_sent: None,
            receipted: None,
            created_wall: self.is_trusted.then_some(self.wall),
            created_uptime: self.uptime_before + self.mono,
            boot: self.boot,
        });
        self.messages.len() - 1
    }

    fn put_file(&mut self, number: usize, seed: u8) {
        self.messages[number].seed = seed;
        self.messages[number].has_file = true;
    }

    fn report(&mut self, says: &'static str, report: Report) {
        let record = self.put(OutboxKind::Record, 0, None, says);
        self.messages[record].report = Some(report);
    }

    fn send(&mut self, number: usize) {
        let (number, wall) = (self.pick_message(number), self.wall);
        let is_forgotten = self.is_forgotten(number);
        let Some(message) = self.messages.get_mut(number) else { return };
        if message.place != Place::Gone {
            message.attempts += 1;
            message.sent = Some(wall);
        }
        if !is_forgotten {
            message.record_sent = Some(wall);
        }
    }

    fn is_forgotten(&self, number: usize) -> bool {
        let alert = self.messages.get(number).and_then(|message| message.alert);
        alert.is_some_and(|alert| self.alerts[alert].is_forgotten)
    }

    /// What was never sent can't have been received.
    fn receipt(&mut self, number: usize, is_of_clip: bool) {
        let wall = self.wall;
        let is_meant =
            |message: &&mut Message| (message.kind == OutboxKind::Clip) == is_of_clip && message.attempts > 0;
        if let Some(message) = self.in_outbox(number).filter(is_meant) {
            message.place = Place::Gone;
            message.receipted = Some(wall);
        }
    }

    fn reject(&mut self, number: usize) {
        let is_clip = |message: &&mut Message| message.kind == OutboxKind::Clip && message.attempts > 0;
        if self.in_outbox(number).is_some_and(|message| is_clip(&message)) {
            self.set_aside(number, "too large");
        }
    }

    fn set_aside(&mut self, number: usize, reason: &'static str) {
        let number = self.pick_message(number);
        if let Some(message) = self.in_outbox(number).filter(|message| message.place == Place::Waiting) {
            message.place = Place::SetAside;
            let kind = message.kind;
            self.report("set_aside", Report::SetAside(number, kind, reason));
        }
        self.note_uptime();
    }

    fn expire(&mut self) {
        self.note_uptime();
        if !self.is_trusted {
            return;
        }
        for kind in [OutboxKind::Snapshot, OutboxKind::Clip] {
            let overdue: Vec<usize> = (0..self.messages.len())
                .filter(|number| self.messages[*number].kind == kind && self.messages[*number].place != Place::Gone)
                .filter(|number| {
                    self.age(&self.messages[*number]) >= u64::from(kind.expiry_days().expect("expires")) * DAY_MS
                })
                .collect();
            if !overdue.is_empty() {
                overdue.iter().for_each(|number| self.messages[*number].place = Place::Gone);
                self.report("expired", Report::Expired(kind, overdue));
            }
        }
    }

    /// Never less than what the box has been running since; time while it was off by trusted labels, and a clock that
    /// jumps adds none.
    fn age(&self, message: &Message) -> u64 {
        let by_uptime = (self.uptime_before + self.mono).saturating_sub(message.created_uptime);
        let wall = self.least_offset.expect("noted") + i64::try_from(self.mono).expect("small");
        let by_wall = message.created_wall.map_or(0, |created| u64::try_from(wall - created).unwrap_or(0));
        if message.boot == self.boot { by_uptime } else { by_uptime.max(by_wall) }
    }

    fn tidy(&mut self, clips: usize, pictures: usize, forgets: bool) {
        self.evict(OutboxKind::Clip, "clips", clips);
        self.evict(OutboxKind::Snapshot, "snapshots", pictures);
        if forgets {
            for alert in 0..self.alerts.len() {
                let all_gone = self.of_alert(alert).all(|(_, message)| message.place == Place::Gone);
                if self.alerts[alert].is_closed && all_gone && !self.alerts[alert].is_forgotten {
                    self.note_uptime();
                    self.alerts[alert].is_forgotten = true;
                    for message in self.messages.iter_mut().filter(|message| message.alert == Some(alert)) {
                        message.has_file = false;
                    }
                }
            }
        }
    }

    /// All files of a kind are of one size, so a quota is a number of files.
    fn evict(&mut self, kind: OutboxKind, what: &'static str, most: usize) {
        let files = self.messages.iter().filter(|message| message.kind == kind && message.has_file).count();
        let mut victims: Vec<usize> = (0..self.messages.len())
            .filter(|number| self.messages[*number].kind == kind && self.messages[*number].has_file)
            .filter(|number| {
                kind == OutboxKind::Clip || self.alerts[self.messages[*number].alert.expect("has one")].is_closed
            })
            .collect();
        victims.sort_by_key(|number| {
            let message = &self.messages[*number];
            let is_grave = self.alerts[message.alert.expect("has one")].is_grave;
            let waits = message.place != Place::Gone;
            // Pictures that the district has go by their tier too.
            (waits, is_grave && (waits || kind == OutboxKind::Snapshot))
        });
        victims.truncate(files.saturating_sub(most));
        if victims.is_empty() {
            return;
        }
        self.note_uptime();
        let unsent: Vec<usize> =
            victims.iter().copied().filter(|number| self.messages[*number].place != Place::Gone).collect();
        for number in victims {
            (self.messages[number].place, self.messages[number].has_file) = (Place::Gone, false);
        }
        if !unsent.is_empty() {
            self.report("loss", Report::Evicted(what, unsent));
        }
    }

    fn note_uptime(&mut self) {
        self.uptime_noted = self.uptime_noted.max(self.mono);
        if self.is_trusted {
            let offset = self.wall - i64::try_from(self.mono).expect("small");
            self.least_offset = Some(self.least_offset.map_or(offset, |least| least.min(offset)));
        }
    }
}
