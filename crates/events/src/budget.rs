//! The log's byte budget: who gives way when it is used up.
//!
//! Topics are kept in classes by the power of two of their cost, so that the heaviest is found at once. The
//! heaviest gives way first: a hot room cannot evict a quiet user, because its ring is heavier.

use crate::directory::SlotId;

/// Where a topic stands among the classes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    class: u8,
    at: u32,
}

#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: usize,
    classes: [Vec<SlotId>; Self::CLASSES],
}

impl Budget {
    const CLASSES: usize = usize::BITS as usize + 1;

    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, classes: [const { Vec::new() }; Self::CLASSES] }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// Takes in a topic with its fixed cost.
    pub(crate) fn enter(&mut self, slot: SlotId, cost: usize) -> Standing {
        self.bytes += cost;
        self.place(slot, class_of(cost))
    }

    /// A topic's cost went from `before` to `after`. When that moves another topic within its old class,
    /// `moved` is told the new standing of that one.
    pub(crate) fn update(
        &mut self,
        slot: SlotId,
        standing: &mut Standing,
        before: usize,
        after: usize,
        moved: impl FnOnce(SlotId, Standing),
    ) {
        self.bytes = self.bytes + after - before;
        let class = class_of(after);
        if class != standing.class {
            self.unplace(*standing, moved);
            *standing = self.place(slot, class);
        }
    }

    /// Lets a topic go.
    pub(crate) fn leave(&mut self, standing: Standing, cost: usize, moved: impl FnOnce(SlotId, Standing)) {
        self.bytes -= cost;
        self.unplace(standing, moved);
    }

    /// A topic of the heaviest class.
    pub(crate) fn heaviest(&self) -> Option<SlotId> {
        self.classes.iter().rev().find_map(|class| class.last().copied())
    }

    fn place(&mut self, slot: SlotId, class: u8) -> Standing {
        let members = &mut self.classes[usize::from(class)];
        members.push(slot);
        Standing { class, at: (members.len() - 1) as u32 }
    }

    fn unplace(&mut self, standing: Standing, moved: impl FnOnce(SlotId, Standing)) {
        let members = &mut self.classes[usize::from(standing.class)];
        members.swap_remove(standing.at as usize);
        if let Some(&other) = members.get(standing.at as usize) {
            moved(other, standing);
        }
    }
}

fn class_of(cost: usize) -> u8 {
    (usize::BITS - cost.leading_zeros()) as u8
}
