//! One fault of the broker at a time, each of which once kept messages from arriving.

use std::time::{Duration, Instant};

use kitchen_fault_lab::broker::{Action, Broker, Fault, PacketKind, Side, Way};
use kitchen_fault_lab::site::{Site, Urls};

const BOUND: Duration = Duration::from_secs(40);

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_for_a_message_of_a_copied_card_removes_nothing() {
    let broker = Broker::start().await.expect("loopback has a free port");
    let packet = PacketKind::Publish;
    for _ in 0..6 {
        broker.arm(Fault { side: Side::Box, way: Way::From, packet, action: Action::ReceiptOfACopy, skip: 2 });
    }
    let urls = Urls { of_box: broker.url(), of_district: broker.url() };
    let mut site = Site::start(urls, 1);
    site.put_alert(Some(5_000)).await;
    site.put_clip(50_000).await;
    site.put_record().await;
    assert_eq!(site.emptied(BOUND).await, Vec::<String>::new());
    assert_eq!(broker.tally()["From Publish ReceiptOfACopy"], 6);
    assert_eq!(site.findings(None).await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_that_was_refused_is_asked_for_again() {
    for side in [Side::Box, Side::District] {
        let broker = Broker::start().await.expect("loopback has a free port");
        let action = Action::Refuse { code: 0x97 };
        broker.arm(Fault { side, way: Way::From, packet: PacketKind::Subscribe, action, skip: 0 });
        let urls = Urls { of_box: broker.url(), of_district: broker.url() };
        let mut site = Site::start(urls, 1);
        site.put_alert(None).await;
        let started = Instant::now();
        assert_eq!(site.emptied(BOUND).await, Vec::<String>::new(), "{side:?} is deaf");
        eprintln!("{side:?}: receipted after {:.1?}", started.elapsed());
        assert_eq!(site.findings(None).await, Vec::<String>::new());
    }
}
