//! Blocks of fields: RFC 7541.

use super::*;

#[tokio::test]
async fn blocks_that_cannot_be_read_end_the_connection() {
    let behind = |more: &[u8]| sends(&[head(1, END_STREAM, &[GET, more].concat())]);
    let before = |more: &[u8]| sends(&[head(1, END_STREAM, &[more, GET].concat())]);
    let broken = || Err(COMPRESSION_UNSAID);
    // `x-test` in Huffman's code.
    let named = |value: &[u8]| [&b"\x00\x85\xf2\xb2\x4a\x84\xff"[..], value].concat();
    let unending = [&[0xff; 12][..], &[0x7f]].concat();
    check(vec![
        ("2.3.3 a field beyond the tables", behind(&[0xbe]), broken()),
        ("2.3.3 far beyond", behind(&[0xff, 0x80, 0x01]), broken()),
        ("2.3.3 a name beyond the tables", behind(b"\x7f\x07\x05value"), broken()),
        ("4.2 a size behind fields", behind(&[0x20]), broken()),
        ("4.2 sizes before them", before(&[0x20, 0x3f, 0xe1, 0x1f]), answered(&[1])),
        ("6.3 a size beyond the setting", before(&[0x3f, 0xe2, 0x1f]), broken()),
        ("5.1 a number without end", behind(&unending), broken()),
        ("5.2 good padding", behind(&named(b"\x83\x49\x50\x9f")), answered(&[1])),
        ("5.2 padding of a byte and more", behind(&named(b"\x84\x49\x50\x9f\xff")), broken()),
        ("5.2 padding of zeros", behind(&named(b"\x83\x49\x50\x90")), broken()),
        ("5.2 an end within", behind(&named(b"\x84\xff\xff\xff\xff")), broken()),
        ("5.2 text beyond the block", behind(b"\x00\x01x\x09short"), broken()),
        ("6.1 the field 0", behind(&[0x80]), broken()),
    ])
    .await;
}

#[tokio::test]
async fn tables_are_kept_from_head_to_head() {
    let named = |name: u8| [&[name][..], b"\x03x-a\x03one"].concat();
    let first = head(1, END_STREAM, &[GET, &named(0x40)].concat());
    let second = head(3, END_STREAM, &[GET, &[0xbe]].concat());
    // Once the table has shrunk, it is gone.
    let third = head(5, END_STREAM, &[&[0x20], GET, &[0xbe]].concat());
    check(vec![
        ("6.2.1 it is there", sends(&[first.clone(), second.clone()]), answered(&[1, 3])),
        (
            "6.2.2 it is not remembered",
            sends(&[head(1, END_STREAM, &[GET, &named(0)].concat()), second.clone()]),
            Err(COMPRESSION_UNSAID),
        ),
        (
            "6.2.3 never",
            sends(&[head(1, END_STREAM, &[GET, &named(0x10)].concat()), second.clone()]),
            Err(COMPRESSION_UNSAID),
        ),
        ("4.3 it was thrown out", sends(&[first, second, third]), Err(COMPRESSION_UNSAID)),
    ])
    .await;
}
