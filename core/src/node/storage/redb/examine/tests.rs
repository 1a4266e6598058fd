//! The paper shows what a file would that was written to, and the file stays as it was.

use std::fs;

use super::*;

fn paper(path: &Path) -> Paper {
    let file = OpenOptions::new().read(true).write(true).open(path);
    let file = file.expect("it is there");
    let length = file.metadata().expect("it has one").len();
    Paper(Arc::new(Above {
        below: FileBackend::new(file).expect("nobody else has it"),
        changes: Mutex::new(Changes {
            length,
            shows: length,
            writes: Vec::new(),
        }),
    }))
}

#[test]
fn paper_is_written_to_like_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("file");
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..50 {
        let file: Vec<u8> = (0..100).map(|_| random.u8(..)).collect();
        fs::write(&path, &file).expect("there is room");
        let paper = paper(&path);
        let mut shows = file.clone();
        for _ in 0..30 {
            let length = shows.len();
            match random.u8(0..3) {
                0 => {
                    let new = random.usize(0..150);
                    paper.set_len(new as u64).expect("it is paper");
                    shows.resize(new, 0);
                }
                _ if length > 0 => {
                    let from = random.usize(0..length);
                    let to = random.usize(from..length) + 1;
                    let bytes: Vec<u8> = (from..to).map(|_| random.u8(..)).collect();
                    paper.write(from as u64, &bytes).expect("it is paper");
                    shows[from..to].copy_from_slice(&bytes);
                }
                _ => {}
            }
            assert_eq!(paper.len().expect("it has one"), shows.len() as u64);
            let from = random.usize(0..=shows.len());
            let mut part = vec![1; random.usize(0..=shows.len() - from)];
            let read = paper.read(from as u64, &mut part);
            read.expect("it is within");
            assert_eq!(part, shows[from..from + part.len()]);
            let beyond = paper.read(shows.len() as u64, &mut [0]);
            assert!(beyond.is_err(), "there is nothing");
        }
        assert_eq!(fs::read(&path).expect("it is there"), file);
    }
}
