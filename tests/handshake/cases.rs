//! All pairs of lineages up to four epochs, and what may stand beside them.
use lockstep::history::{Leads, who_must_lead};
use lockstep::model::{
    BootId, CopyState, EpochId, EpochKind, EpochRecord, Lineage, NodeName, Position, Seq, Side,
};

/// Two sides with lineages; everything else is varied around them.
#[derive(Clone, Debug)]
pub struct Shape {
    first: Side,
    second: Side,
}

const COPIES: [CopyState; 4] =
    [CopyState::Unknown, CopyState::Current, CopyState::Outdated, CopyState::Incomplete];
/// Exact, lost volatile state.
const CRASHES: [(bool, bool); 3] = [(true, false), (false, false), (false, true)];
const BOGUS: EpochId = EpochId(99);

fn name(text: &str) -> NodeName {
    NodeName::new(text).unwrap()
}

fn epoch(id: u128, node: &str, first_seq: u64, before: &Lineage) -> EpochRecord {
    EpochRecord {
        id: EpochId(id),
        number: before.generation() + 1,
        parent: before.last().map(|epoch| epoch.id),
        first_seq: Seq(first_seq),
        node: name(node),
        kind: EpochKind::Alone,
        reason: String::new(),
        wall_ms: 0,
    }
}

fn side(node: &str, lineage: Lineage) -> Side {
    let epoch = lineage.last();
    let position =
        Position { epoch: epoch.map(|e| e.id), seq: epoch.map_or(Seq(0), |e| e.first_seq) };
    Side {
        node: name(node),
        boot: BootId(u128::from(node.as_bytes()[1])),
        lineage,
        position,
        exact: true,
        copy: CopyState::Current,
        lost_volatile: false,
        sole: false,
        dirty_base: None,
        dirty_objects: 0,
        dirty_bytes: 0,
        window: None,
    }
}

/// Common epochs have two operations each; own epochs begin where the common ones end, or one
/// operation earlier (a take-over from a node that was ahead).
pub fn shapes() -> Vec<Shape> {
    let mut shapes = Vec::new();
    for common in 0..=3u64 {
        for (first, second) in pairs(&[0u64, 1, 2, 3], &[0, 1, 2, 3]) {
            if common + first.max(second) > 4 || common + first + second > 5 {
                continue;
            }
            for (early, writer) in pairs(&[false, true], &["n1", "n2", "n3"]) {
                let plain = !early && writer == "n1";
                if plain || common > 0 && (first > 0 || !early) {
                    shapes.push(shape(common, first, second, early, writer));
                }
            }
        }
    }
    shapes.extend(broken());
    shapes
}

fn shape(common: u64, first: u64, second: u64, early: bool, writer: &str) -> Shape {
    let mut shared = Lineage::default();
    for number in 0..common {
        shared.epochs.push(epoch(u128::from(number), writer, 1 + 2 * number, &shared));
    }
    let grow = |node: &str, ids: u128, count: u64, early: bool| {
        let mut lineage = shared.clone();
        for number in 0..count {
            let begin = 1 + 2 * (common + number) - u64::from(early);
            lineage.epochs.push(epoch(ids + u128::from(number), node, begin, &lineage));
        }
        side(node, lineage)
    };
    Shape { first: grow("n1", 10, first, early), second: grow("n2", 20, second, false) }
}

/// Lineages that contradict themselves or each other.
fn broken() -> Vec<Shape> {
    let good = shape(2, 1, 1, false, "n1");
    let changed = |change: fn(&mut Lineage)| {
        let mut bad = good.clone();
        change(&mut bad.second.lineage);
        bad
    };
    vec![
        changed(|lineage| lineage.epochs[1].parent = None),
        changed(|lineage| lineage.epochs[1].number = 1),
        changed(|lineage| lineage.epochs.swap(0, 1)),
        changed(|lineage| lineage.epochs[2].first_seq = Seq(1)),
        changed(|lineage| lineage.epochs[1].first_seq = Seq(2)),
        changed(|lineage| lineage.epochs[0].kind = EpochKind::Mirror),
        changed(|lineage| lineage.epochs[2].id = EpochId(1)),
    ]
}

/// Where a side may say that it stands: sound, behind the end of an epoch, and impossible.
fn positions(lineage: &Lineage) -> Vec<Position> {
    let at = |epoch: EpochId, seq: u64| Position { epoch: Some(epoch), seq: Seq(seq) };
    let mut positions = vec![Position { epoch: None, seq: Seq(0) }];
    if let Some(last) = lineage.last() {
        let first = last.first_seq.0;
        positions.extend([first - 1, first, first + 1, first + 3].map(|seq| at(last.id, seq)));
        // Any other mistake is the same mistake: an unknown epoch, or behind the end of its own.
        let parent = lineage.epochs.iter().rev().nth(1);
        positions.push(parent.map_or(at(BOGUS, first), |parent| at(parent.id, first)));
        positions.extend(parent.map(|parent| at(parent.id, parent.first_seq.0)));
    }
    positions
}

impl Shape {
    /// All that decides who leads.
    pub fn each_standing(&self, mut check: impl FnMut(&Side, &Side)) {
        let (mut a, mut b) = (self.first.clone(), self.second.clone());
        let equal = a.lineage.epochs.len() == b.lineage.epochs.len();
        let empty = a.lineage.epochs.is_empty() || b.lineage.epochs.is_empty();
        let soles = pairs(&[false, true], &[false, true]);
        for (pa, pb) in pairs(&positions(&a.lineage), &positions(&b.lineage)) {
            (a.position, b.position) = (pa, pb);
            for (ca, cb) in pairs(&COPIES, &COPIES) {
                (a.copy, b.copy) = (ca, cb);
                for (xa, xb) in pairs(&CRASHES, &CRASHES) {
                    ((a.exact, a.lost_volatile), (b.exact, b.lost_volatile)) = (xa, xb);
                    // Matters where both may lead, or where content has no history.
                    let both = ca == CopyState::Current && cb == CopyState::Current;
                    let count = if empty || (both && equal) { 4 } else { 1 };
                    for sole in &soles[..count] {
                        (a.sole, b.sole) = *sole;
                        check(&a, &b);
                    }
                }
            }
        }
    }

    /// All that decides how the follower is brought level, where the first side leads.
    pub fn each_plan(&self, mut check: impl FnMut(&Side, &Side)) {
        if self.second.lineage.epochs.iter().any(|e| !self.first.lineage.contains(e.id)) {
            return;
        }
        self.each_standing(|a, b| {
            let standing = who_must_lead(a, b);
            if !matches!(standing.leads, Leads::First | Leads::Either) {
                return;
            }
            let (mut leader, mut follower) = (a.clone(), b.clone());
            for base in bases(a, b) {
                leader.dirty_base = base;
                for theirs in [(None, 0), (None, 2), (Some(a.position), 0), (Some(a.position), 2)] {
                    (follower.dirty_base, follower.dirty_objects) = theirs;
                    leader.dirty_objects = u64::from(base.is_some());
                    check(&leader, &follower);
                }
            }
            leader.dirty_base = None;
            for (ours, theirs) in pairs(&[0, 2], &[0, 2]) {
                (leader.dirty_objects, follower.dirty_objects) = (ours, theirs);
                follower.dirty_base = (theirs > 0).then_some(a.position);
                for window in windows(a, b) {
                    leader.window = window;
                    check(&leader, &follower);
                }
            }
        });
    }

    /// Marks on both sides, for what a person decides.
    pub fn each_discard(&self, mut check: impl FnMut(&Side, &Side)) {
        self.each_standing(|a, b| {
            // Outdated and Incomplete differ for a follower only.
            if a.copy == CopyState::Incomplete || a.position.epoch.is_none() {
                return;
            }
            let (mut leader, mut follower) = (a.clone(), b.clone());
            for (ours, theirs) in pairs(&bases(a, b)[..3], &bases(b, a)[..3]) {
                (leader.dirty_base, follower.dirty_base) = (ours, theirs);
                check(&leader, &follower);
            }
        });
    }
}

/// None, where the other stands, one before, one behind, in the newest epoch, nowhere.
fn bases(own: &Side, other: &Side) -> Vec<Option<Position>> {
    let at = other.position;
    let newest = own.lineage.last().map(|epoch| epoch.id);
    vec![
        None,
        Some(at),
        Some(Position { seq: Seq(at.seq.0.saturating_sub(1)), ..at }),
        Some(Position { seq: at.seq.next(), ..at }),
        Some(Position { epoch: newest, seq: at.seq }),
        Some(Position { epoch: Some(BOGUS), seq: at.seq }),
    ]
}

fn windows(leader: &Side, follower: &Side) -> Vec<Option<(Seq, Seq)>> {
    let (at, last) = (follower.position.seq, leader.position.seq);
    vec![None, Some((at.next(), last)), Some((at.next().next(), last)), Some((Seq(1), at))]
}

fn pairs<A: Copy, B: Copy>(a: &[A], b: &[B]) -> Vec<(A, B)> {
    a.iter().flat_map(|x| b.iter().map(move |y| (*x, *y))).collect()
}
