//! A first walk.
mod sim;
use sim::{Sim, ms, secs};

#[test]
fn three_nodes() {
    let mut sim = Sim::default();
    for id in 1..=3 {
        sim.add_node(id, "sg");
    }
    sim.add_link([(1, 1), (2, 1)], 10, 10);
    sim.add_link([(2, 2), (3, 1)], 10, 10);
    for id in 1..=3 {
        sim.start(id, false);
    }
    sim.set_link(1, 2, true);
    sim.set_link(2, 3, true);
    sim.authorise(1, &["/shop"], 3600, 60);
    sim.announce(1, &["/shop/a"]);
    sim.run(ms(200));
    println!("{}", sim.describe());
    sim.run(secs(3));
    println!("{}", sim.describe());
    assert!(sim.digests_equal());
    assert_eq!(sim.members(3, "/shop/a"), [1]);
    println!("{:?}", sim.nodes[&3].tables);
    println!("messages {}", sim.messages);
}
