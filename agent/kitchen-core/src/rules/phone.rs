//! `phone`: a phone in use, which is a phone at a person. One that lies on a shelf alone is not in use.

use super::Hit;
use crate::detection::{Label, Rect};
use crate::tracker::Track;
use crate::zone::Area;

/// Share of a person's width and height by which an arm reaches beyond the box.
const REACH: f32 = 0.1;

#[must_use]
pub fn look(tracks: &[Track], area: &Area) -> Option<Hit> {
    let people: Vec<&Track> = tracks.iter().filter(|track| track.label == Label::Person).collect();
    let user = |phone: &Track| {
        let within = people.iter().filter(|person| is_within_reach(phone.rect, person.rect));
        within.min_by(|a, b| a.rect.area().total_cmp(&b.rect.area())).copied()
    };
    let phones = tracks.iter().filter(|track| track.label == Label::Phone && area.contains(track.rect.centre()));
    let used: Vec<(&Track, &Track)> = phones.filter_map(|phone| Some((phone, user(phone)?))).collect();
    let mut hit = Hit::of(used.iter().map(|(phone, _)| *phone))?;
    hit.boxes.extend(used.iter().map(|(_, user)| user.detection()));
    Some(hit)
}

fn is_within_reach(phone: Rect, person: Rect) -> bool {
    person.widened(REACH, REACH).contains(phone.centre()) && phone.area() < person.area() / 2.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::testing::track;

    #[test]
    fn a_phone_counts_at_a_person_only() {
        let everywhere = Area::whole_picture();
        let person = track(Label::Person, 0.9, [0.4, 0.2, 0.2, 0.6]);
        let held = track(Label::Phone, 0.7, [0.58, 0.4, 0.03, 0.05]);
        let shelved = track(Label::Phone, 0.8, [0.9, 0.4, 0.03, 0.05]);
        assert_eq!(look(&[person.clone(), shelved.clone()], &everywhere), None);
        assert_eq!(look(std::slice::from_ref(&held), &everywhere), None);
        let hit = look(&[person.clone(), held.clone(), shelved], &everywhere).expect("held");
        assert_eq!((hit.score, hit.boxes), (0.7, vec![held.detection(), person.detection()]));
    }
}
