//! The log's byte budget: the topics that give way when it is used up.
//!
//! Topics are kept in classes by the power of two of what their rings hold, so that the heaviest is found at once.
//! The heaviest gives way first: a hot room cannot evict a quiet user, because its ring is heavier. Among equals each
//! has its turn, so that what came last is not what goes first.

/// The number of a topic's slot in the directory; reused once the topic is collected.
pub(crate) type SlotId = u32;

/// Where a topic stands among the classes of the budget.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rank {
    class: u8,
    at: u32,
}

#[derive(Debug)]
pub(crate) struct Budget {
    bytes_max: usize,
    bytes: usize,
    /// The first class is of topics whose rings are empty.
    classes: [Vec<SlotId>; Self::CLASSES],
    /// Counts the turns within a class.
    turn: usize,
}

impl Budget {
    const CLASSES: usize = usize::BITS as usize + 1;

    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, bytes: 0, classes: [const { Vec::new() }; Self::CLASSES], turn: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.bytes > self.bytes_max
    }

    /// Takes in a topic with its fixed cost and an empty ring.
    pub(crate) fn enter(&mut self, slot: SlotId, fixed: usize) -> Rank {
        self.bytes += fixed;
        self.place(slot, class_of(0))
    }

    /// The cost of a topic's ring went from `before` to `after`. When that moves another topic within its old class,
    /// `moved` is told the new rank of that one.
    pub(crate) fn update(
        &mut self,
        slot: SlotId,
        rank: &mut Rank,
        before: usize,
        after: usize,
        moved: impl FnOnce(SlotId, Rank),
    ) {
        self.bytes = self.bytes + after - before;
        let class = class_of(after);
        if class != rank.class {
            self.unplace(*rank, moved);
            *rank = self.place(slot, class);
        }
    }

    /// Lets a topic go.
    pub(crate) fn leave(&mut self, rank: Rank, cost: usize, moved: impl FnOnce(SlotId, Rank)) {
        self.bytes -= cost;
        self.unplace(rank, moved);
    }

    /// The topic of the heaviest class whose turn it is; its ring is not empty.
    pub(crate) fn heaviest(&mut self) -> Option<SlotId> {
        let class = self.classes[1..].iter().rposition(|class| !class.is_empty())?;
        self.take_turn(class + 1)
    }

    /// The topic with an empty ring whose turn it is.
    pub(crate) fn empty(&mut self) -> Option<SlotId> {
        self.take_turn(0)
    }

    fn take_turn(&mut self, class: usize) -> Option<SlotId> {
        let members = &self.classes[class];
        self.turn = self.turn.wrapping_add(1);
        members.get(self.turn.checked_rem(members.len())?).copied()
    }

    fn place(&mut self, slot: SlotId, class: u8) -> Rank {
        let members = &mut self.classes[usize::from(class)];
        members.push(slot);
        Rank { class, at: (members.len() - 1) as u32 }
    }

    fn unplace(&mut self, rank: Rank, moved: impl FnOnce(SlotId, Rank)) {
        let members = &mut self.classes[usize::from(rank.class)];
        members.swap_remove(rank.at as usize);
        if let Some(&other) = members.get(rank.at as usize) {
            moved(other, rank);
        }
    }
}

fn class_of(cost: usize) -> u8 {
    (usize::BITS - cost.leading_zeros()) as u8
}
