use super::*;

fn replayed(buffer: &ReplayBuffer, number: u64) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    buffer.replay(number, &mut out).ok()?;
    Some(out)
}

#[test]
fn replay_returns_exactly_the_missed_messages() {
    let mut replay = ReplayBuffer::new();
    for message in [&b"one"[..], b"two", b"three"] {
        replay.push(message, true, 10, 100);
    }
    assert_eq!(replay.kept(), 0..3);
    assert_eq!(replayed(&replay, 0), Some(b"onetwothree".to_vec()));
    assert_eq!(replayed(&replay, 1), Some(b"twothree".to_vec()));
    assert_eq!(replayed(&replay, 3), Some(Vec::new()), "nothing was missed");
    assert_eq!(replayed(&replay, 4), None, "more than was ever sent");
}

#[test]
fn the_oldest_messages_are_dropped_by_count_and_by_bytes() {
    let mut replay = ReplayBuffer::new();
    for n in 0..10u8 {
        replay.push(&[n; 4], true, 3, 100);
    }
    assert_eq!(replay.kept(), 7..10);
    assert_eq!(replayed(&replay, 6), None, "lost");
    let mut replay = ReplayBuffer::new();
    for n in 0..10u8 {
        replay.push(&[n; 4], true, 100, 20);
        assert!(replay.size() <= 20);
    }
    assert_eq!(replay.kept(), 8..10);
    replay.push(&[0; 17], true, 100, 20);
    assert_eq!(
        replay.kept(),
        11..11,
        "a message beyond the bound is not kept, nor is anything older"
    );
    assert_eq!(replayed(&replay, 10), None);
    assert_eq!(replayed(&replay, 11), Some(Vec::new()));
}

#[test]
fn an_unfinished_message_is_replayed_from_its_beginning() {
    let mut replay = ReplayBuffer::new();
    replay.push(b"one", true, 10, 100);
    replay.push(b"tw", false, 10, 100);
    assert_eq!(replayed(&replay, 1), Some(b"tw".to_vec()));
    assert_eq!(replayed(&replay, 2), None, "no client has received it");
    replay.push(b"o", false, 10, 100);
    replay.push(b"!", true, 10, 100);
    assert_eq!(replay.kept(), 0..2);
    assert_eq!(replayed(&replay, 1), Some(b"two!".to_vec()));
    assert_eq!(replayed(&replay, 2), Some(Vec::new()));
    // A message that grows beyond the bounds is dropped as a whole, and the next is kept.
    for _ in 0..100 {
        replay.push(b"more", false, 10, 100);
        assert!(replay.size() <= 100);
    }
    replay.push(b"end", true, 10, 100);
    assert_eq!((replay.kept(), replay.size()), (3..3, 0));
    replay.push(b"next", true, 10, 100);
    assert_eq!(replayed(&replay, 3), Some(b"next".to_vec()));
}

#[test]
fn capacity_stays_within_a_quarter_of_the_bound() {
    const MAX: usize = 100_000;
    for len in [1, 2, 7, 1000, MAX / 2, MAX - LEN_SIZE] {
        let mut replay = ReplayBuffer::new();
        for _ in 0..2 * MAX / len {
            replay.push(&vec![0; len], true, usize::MAX, MAX);
        }
        assert!(replay.size() > MAX / 3, "{len}: the bound is used");
        let taken = replay.bytes.capacity() + replay.lens.capacity() * LEN_SIZE;
        assert!(taken <= MAX + MAX / 4, "{len}: {taken}");
    }
}

#[test]
fn random_pushes_agree_with_a_list_of_messages() {
    for seed in 1..500u64 {
        let mut state = seed;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let (mut replay, mut all) = (ReplayBuffer::new(), Vec::new());
        for n in 0..100u8 {
            let frame = vec![n; random(20) as usize];
            for part in frame.chunks(1 + random(20) as usize) {
                replay.push(part, false, 8, 64);
            }
            replay.push(b"", true, 8, 64);
            all.push(frame);
        }
        for number in replay.kept() {
            let expected = all[number as usize..].concat();
            assert_eq!(replayed(&replay, number), Some(expected), "seed {seed}");
        }
    }
}
