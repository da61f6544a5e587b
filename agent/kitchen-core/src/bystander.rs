//! Whose face in a violation's picture is nobody's business: the rule, its boxes and everything that was seen come in,
//! the places to make unrecognisable go out. Knows boxes only; no face is ever recognised or compared.

use crate::detection::{Detection, Label, Rect};
use crate::rules::RuleId;

/// Far below what counts as seen: a face too many is blurred rather than one too few.
const DOUBTFUL_HEAD: f32 = 0.05;
/// Somebody whose head was not found. Lower scores are pots and aprons, and would hide what the picture has to show.
const DOUBTFUL_PERSON: f32 = 0.15;
/// From here on what lies inside of the subject's box is somebody else, and not a part of the subject.
const SURE: f32 = 0.5;
/// Share by which a head's box is widened on each side: hair, chin, and a box that sits loosely.
const MARGIN: f32 = 0.35;
/// Boxes that overlap by so much are about the same head or person.
const SAME: f32 = 0.4;

/// A place to blur.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hidden {
    /// The face: blurred whatever else lies there.
    pub face: Rect,
    /// The face with its margin, which gives way to what the picture has to show.
    pub margin: Rect,
}

/// What is blurred in a picture, and what no margin may touch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bystanders {
    pub hidden: Vec<Hidden>,
    /// Faces of the violation's subjects, and things that the violation is about.
    pub shown: Vec<Rect>,
}

impl Bystanders {
    /// Everybody in `seen` but the subjects of the violation, which `boxes` show.
    #[must_use]
    pub fn of(rule: RuleId, boxes: &[Detection], seen: &[Detection]) -> Self {
        let heads: Vec<&Detection> = seen.iter().filter(|one| is_head(one.label) && may_be_head(one)).collect();
        let people: Vec<&Detection> =
            seen.iter().filter(|one| one.label == Label::Person && one.score >= DOUBTFUL_PERSON).collect();
        let owners: Vec<Option<usize>> = heads.iter().map(|head| owner(head.rect, &people)).collect();
        let is_about_people = is_about_people(rule);
        let subjects: Vec<&Detection> = boxes.iter().filter(|one| is_about_people && is_somebody(one.label)).collect();
        let faces: Vec<Rect> = subjects.iter().map(|subject| face_of(subject, &heads, &people, &owners)).collect();

        let mut hidden = Vec::new();
        for head in &heads {
            if !faces.iter().any(|face| is_same_head(head, *face)) {
                hidden.push(Hidden { face: head.rect, margin: head.rect.widened(MARGIN, MARGIN) });
            }
        }
        for (index, person) in people.iter().enumerate() {
            let has_head = owners.contains(&Some(index)) || faces.iter().any(|face| fit(*face, person.rect).is_some());
            if !has_head && !subjects.iter().any(|subject| is_part_of(person, subject)) {
                let top = top_of(person.rect);
                hidden.push(Hidden { face: top, margin: top.widened(MARGIN / 2.0, MARGIN / 2.0) });
            }
        }
        let things = boxes.iter().filter(|one| !is_somebody(one.label)).map(|one| one.rect);
        Self { hidden, shown: things.chain(faces).collect() }
    }
}

/// Whether somebody in the picture is the violation, and has to be told from the others.
const fn is_about_people(rule: RuleId) -> bool {
    match rule {
        RuleId::Smoking
        | RuleId::BareTorso
        | RuleId::Intrusion
        | RuleId::NoHat
        | RuleId::NoMask
        | RuleId::NoUniform
        | RuleId::Phone => true,
        RuleId::Rodent
        | RuleId::Fire
        | RuleId::StoveUnattended
        | RuleId::BinOpen
        | RuleId::Waste
        | RuleId::Animal
        | RuleId::CameraOffline
        | RuleId::LensCovered
        | RuleId::LensBlurred
        | RuleId::ViewMoved
        | RuleId::BoxHealth => false,
    }
}

/// A doubtful box much higher than wide is a part of a person or a post.
fn may_be_head(one: &Detection) -> bool {
    one.score >= SURE || (one.score >= DOUBTFUL_HEAD && one.rect.h <= one.rect.w * 4.0)
}

const fn is_head(label: Label) -> bool {
    matches!(label, Label::Head | Label::Face)
}

const fn is_somebody(label: Label) -> bool {
    is_head(label) || matches!(label, Label::Person)
}

/// Where the subject's face is: its own box, the head that fits its person best, or where a head would be.
fn face_of(subject: &Detection, heads: &[&Detection], people: &[&Detection], owners: &[Option<usize>]) -> Rect {
    if is_head(subject.label) {
        return subject.rect;
    }
    let is_subject = |owner: Option<usize>| owner.is_some_and(|index| people[index].rect.iou(subject.rect) >= SAME);
    let own = heads.iter().zip(owners).filter(|(_, owner)| is_subject(**owner)).filter_map(|(head, _)| {
        // A doubtful box is the subject's only where there is no better one.
        Some((fit(head.rect, subject.rect)? + (1.0 - head.score), head.rect))
    });
    own.min_by(|a, b| a.0.total_cmp(&b.0)).map_or_else(|| top_of(subject.rect), |(_, rect)| rect)
}

/// The person to whom a head belongs.
fn owner(head: Rect, people: &[&Detection]) -> Option<usize> {
    let fits = people.iter().enumerate().filter_map(|(index, person)| Some((fit(head, person.rect)?, index)));
    fits.min_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, index)| index)
}

/// How far a head is from where this person's is, 0 is best; nothing where it can't be his.
fn fit(head: Rect, person: Rect) -> Option<f32> {
    let [x, y] = head.centre();
    let reach = person.widened(0.1, 0.1);
    let is_small = head.w <= person.w * 1.2 && head.h <= person.h * 0.6;
    let is_within = is_small && reach.contains([x, y]) && y <= person.y + person.h / 2.0;
    let across = (x - person.centre()[0]).abs() / person.w.max(1e-3);
    let along = (head.y - person.y).abs() / person.h.max(1e-3);
    is_within.then_some(across + along)
}

/// A second box about the subject's head rather than somebody else's head before or behind it. A doubtful one may be
/// as large as the whole upper body.
fn is_same_head(head: &Detection, face: Rect) -> bool {
    let is_smaller = head.rect.area() < face.area() && head.rect.share_within(face) >= 0.8;
    let is_larger = head.score < SURE && face.share_within(head.rect) >= 0.8;
    head.rect.iou(face) >= SAME || is_smaller || is_larger
}

fn is_part_of(person: &Detection, subject: &Detection) -> bool {
    let is_inside = person.rect.share_within(subject.rect.widened(0.1, 0.1)) >= 0.8;
    person.rect.iou(subject.rect) >= SAME || (person.score < SURE && is_inside)
}

/// Where the head of somebody is whose head was not found: standing, sitting or cut off by the picture's edge.
fn top_of(person: Rect) -> Rect {
    // In fractions a square of a 16:9 picture is higher than wide.
    let height = (person.w * 1.3).clamp(person.h * 0.22, person.h * 0.5);
    Rect::new(person.x, person.y, person.w, height)
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOK: [f32; 4] = [0.1, 0.2, 0.15, 0.7];
    const COOKS_HEAD: [f32; 4] = [0.15, 0.2, 0.05, 0.1];
    const GUEST: [f32; 4] = [0.6, 0.2, 0.15, 0.7];
    const GUESTS_HEAD: [f32; 4] = [0.65, 0.2, 0.05, 0.1];

    fn seen(label: Label, score: f32, [x, y, w, h]: [f32; 4]) -> Detection {
        Detection { label, score, rect: Rect::new(x, y, w, h) }
    }

    fn rect([x, y, w, h]: [f32; 4]) -> Rect {
        Rect::new(x, y, w, h)
    }

    fn both() -> Vec<Detection> {
        vec![
            seen(Label::Person, 0.9, COOK),
            seen(Label::Head, 0.9, COOKS_HEAD),
            seen(Label::Person, 0.8, GUEST),
            seen(Label::Head, 0.7, GUESTS_HEAD),
        ]
    }

    fn faces(bystanders: &Bystanders) -> Vec<Rect> {
        bystanders.hidden.iter().map(|hidden| hidden.face).collect()
    }

    #[test]
    fn the_subject_is_shown_and_everybody_else_is_not() {
        let head = Bystanders::of(RuleId::NoMask, &[seen(Label::Head, 0.8, COOKS_HEAD)], &both());
        assert_eq!((faces(&head), head.shown.clone()), (vec![rect(GUESTS_HEAD)], vec![rect(COOKS_HEAD)]));
        let person = Bystanders::of(RuleId::Intrusion, &[seen(Label::Person, 0.8, COOK)], &both());
        assert_eq!(person, head);
        let margin = head.hidden[0].margin;
        assert!(margin.x < GUESTS_HEAD[0] && margin.w > GUESTS_HEAD[2] * 1.4, "{margin:?}");
    }

    #[test]
    fn where_the_violation_is_a_thing_everybody_is_a_bystander() {
        for rule in [RuleId::Rodent, RuleId::Fire, RuleId::BinOpen, RuleId::Waste, RuleId::Animal, RuleId::LensCovered]
        {
            let rat = seen(Label::Rat, 0.8, [0.4, 0.8, 0.05, 0.05]);
            let all = Bystanders::of(rule, &[rat], &both());
            assert_eq!(faces(&all), vec![rect(COOKS_HEAD), rect(GUESTS_HEAD)], "{rule}");
            assert_eq!(all.shown, vec![rat.rect]);
        }
    }

    #[test]
    fn heads_far_below_what_counts_as_seen_are_blurred() {
        let doubtful = seen(Label::Head, 0.07, GUESTS_HEAD);
        let hidden = Bystanders::of(RuleId::Rodent, &[], &[doubtful]);
        assert_eq!(faces(&hidden), vec![rect(GUESTS_HEAD)]);
    }

    #[test]
    fn who_has_no_head_box_loses_the_top_of_his_own() {
        let people = [seen(Label::Person, 0.9, COOK), seen(Label::Person, 0.2, GUEST)];
        let hidden = Bystanders::of(RuleId::NoUniform, &[people[0]], &people);
        let [top] = faces(&hidden)[..] else { panic!("{hidden:?}") };
        assert_eq!((top.x, top.y, top.w), (GUEST[0], GUEST[1], GUEST[2]));
        assert!(top.h > 0.15 && top.h < 0.36, "{top:?}");
        assert_eq!(Bystanders::of(RuleId::Fire, &[], &people).hidden.len(), 2);
    }

    #[test]
    fn somebody_behind_the_subject_keeps_no_face_though_it_lies_in_the_subjects_box() {
        let behind = seen(Label::Head, 0.9, [0.21, 0.32, 0.03, 0.06]);
        let all: Vec<Detection> = both().into_iter().chain([behind]).collect();
        let hidden = Bystanders::of(RuleId::Intrusion, &[seen(Label::Person, 0.8, COOK)], &all);
        assert_eq!(faces(&hidden), vec![rect(GUESTS_HEAD), behind.rect]);
    }

    #[test]
    fn second_boxes_about_the_subject_hide_nothing_of_it() {
        let head = seen(Label::Head, 0.1, [0.152, 0.21, 0.05, 0.11]);
        let upper_body = seen(Label::Head, 0.12, [0.1, 0.2, 0.15, 0.4]);
        let torso = seen(Label::Person, 0.3, [0.1, 0.4, 0.15, 0.4]);
        let all = [seen(Label::Person, 0.9, COOK), seen(Label::Head, 0.9, COOKS_HEAD), head, upper_body, torso];
        assert_eq!(faces(&Bystanders::of(RuleId::NoUniform, &[all[0]], &all)), vec![]);
        let same_score_elsewhere = seen(Label::Person, 0.3, GUEST);
        let all = [all[0], all[1], same_score_elsewhere];
        assert_eq!(Bystanders::of(RuleId::NoUniform, &[all[0]], &all).hidden.len(), 1);
    }

    #[test]
    fn every_subject_of_several_is_shown() {
        let boxes = [seen(Label::Person, 0.9, COOK), seen(Label::Person, 0.8, GUEST)];
        assert_eq!(Bystanders::of(RuleId::Intrusion, &boxes, &both()).hidden, vec![]);
        let smoking = [seen(Label::Cigarette, 0.8, [0.19, 0.27, 0.02, 0.01]), boxes[0]];
        let hidden = Bystanders::of(RuleId::Smoking, &smoking, &both());
        assert_eq!(faces(&hidden), vec![rect(GUESTS_HEAD)]);
        assert_eq!(hidden.shown, vec![smoking[0].rect, rect(COOKS_HEAD)]);
    }
}
