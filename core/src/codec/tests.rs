//! The bytes of plain data, and how bytes are read from formats other than ours.

use serde::de::IntoDeserializer;
use serde::de::value::{BorrowedBytesDeserializer, BytesDeserializer, Error, UnitDeserializer};
use serde::de::value::{SeqDeserializer, U8Deserializer};

use super::*;

#[test]
fn a_value_is_written_to_the_front_of_what_there_is_room_for() {
    let mut buffer = [9; 5];
    assert_eq!(encode_into(&0x0102_u16, &mut buffer), Ok(2));
    assert_eq!(buffer, [1, 2, 9, 9, 9]);
    assert_eq!(encode_into(&Some(7_u32), &mut buffer), Ok(5));
    assert_eq!(buffer, [1, 0, 0, 0, 7]);
    assert_eq!(encode_into(&7_u64, &mut buffer), Err(TooLong));
}

#[test]
fn what_is_cut_off_or_goes_on_is_told_apart() {
    let bytes = encode(&(3_u8, true));
    assert_eq!(decode::<(u8, bool)>(&bytes), Ok((3, true)));
    assert_eq!(decode::<(u8, bool)>(&bytes[..1]), Err(Malformed::Truncated));
    assert_eq!(decode::<u8>(&bytes), Err(Malformed::Trailing));
    assert_eq!(decode::<(u8, bool)>(&[3, 4]), Err(Malformed::Nonsense));
    // More than the limit is not reserved first; less is what it is.
    let claims = |length: u64| decode_within::<String, 1000>(&encode(&length));
    assert_eq!(claims(1001), Err(Malformed::Nonsense));
    assert_eq!(claims(10), Err(Malformed::Truncated));
}

#[test]
fn bytes_come_from_any_format() {
    let expected = Ok::<_, Error>(Bytes::from_static(b"ab"));
    assert_eq!(read_bytes(BytesDeserializer::new(b"ab")), expected);
    assert_eq!(read_bytes(BorrowedBytesDeserializer::new(b"ab")), expected);
    assert_eq!(Part.visit_byte_buf(b"ab".to_vec()), expected);
    let elements: SeqDeserializer<_, Error> = SeqDeserializer::new(b"ab".iter().copied());
    assert_eq!(read_bytes(elements), expected);
    let none: UnitDeserializer<Error> = ().into_deserializer();
    let wrong = read_bytes(none).unwrap_err().to_string();
    assert!(wrong.contains("expected bytes"), "{wrong}");
    let number: U8Deserializer<Error> = 1_u8.into_deserializer();
    assert!(read_bytes(number).is_err());
}

/// A part of the whole is shared with it, and anything else is copied, also after a whole that could not be read.
#[test]
fn a_command_shares_the_bytes_that_it_came_in() {
    #[derive(Debug, PartialEq, Deserialize)]
    struct Command(#[serde(deserialize_with = "read_bytes")] Bytes);
    let whole = Bytes::from(encode(&("ab".to_string(), 5_u8)));
    let (Command(part), after) = decode_shared::<(Command, u8), 1000>(&whole).unwrap();
    assert_eq!((&part[..], after), (&b"ab"[..], 5));
    assert!(whole.as_ptr_range().contains(&part.as_ptr()));
    assert_eq!(
        decode_shared::<(Command, u16), 1000>(&whole),
        Err(Malformed::Truncated)
    );
    let Command(copy) = decode(&whole[..10]).unwrap();
    assert_eq!(copy, part);
    assert!(!whole.as_ptr_range().contains(&copy.as_ptr()));
}
