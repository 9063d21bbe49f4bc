use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::header::HeaderValue;
use proptest::prelude::*;

use super::*;

const LIMIT: usize = 2 * 1024 * 1024;
const PACKED: [Encoding; 3] = [Encoding::Gzip, Encoding::Zstd, Encoding::Brotli];

fn pack(encoding: Encoding, plain: &[u8]) -> Bytes {
    let packed = match encoding {
        Encoding::Identity => plain.to_vec(),
        Encoding::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(plain).expect("in memory");
            encoder.finish().expect("in memory")
        }
        Encoding::Zstd => zstd::encode_all(plain, 3).expect("in memory"),
        Encoding::Brotli => brotli_with_window(plain, 22, false),
    };
    Bytes::from(packed)
}

fn brotli_with_window(plain: &[u8], lgwin: i32, large_window: bool) -> Vec<u8> {
    let params = brotli::enc::BrotliEncoderParams { quality: 5, lgwin, large_window, ..Default::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &*plain, &mut packed, &params).expect("in memory");
    packed
}

fn code(result: &Result<Bytes, Problem>) -> &'static str {
    match result {
        Ok(_) => "ok",
        Err(problem) => problem.row().code,
    }
}

#[test]
fn what_was_packed_comes_out_again_up_to_the_last_byte_of_the_limit() {
    for encoding in PACKED {
        for length in [0, 1, 100_000, LIMIT] {
            let plain: Vec<u8> =
                b"{\"type\":\"video.played\"}".iter().copied().cycle().take(length).collect();
            let unpacked = encoding
                .unpack(pack(encoding, &plain), SizeLimit::unpacked(LIMIT))
                .expect("within the limit");
            assert!(unpacked == plain, "{encoding:?} {length}");
        }
    }
}

/// Unpacks a body that arrives in pieces of so many bytes.
fn in_pieces(encoding: Encoding, packed: &Bytes, piece_bytes: usize, limit: usize) -> Result<Bytes, Problem> {
    let mut unpacker = Unpacker::new(encoding, SizeLimit::unpacked(limit));
    let mut unpacked = Vec::new();
    for at in (0..packed.len()).step_by(piece_bytes) {
        let piece = packed.slice(at..packed.len().min(at + piece_bytes));
        unpacked.extend_from_slice(&unpacker.feed(piece)?);
    }
    assert_eq!(unpacker.unpacked_bytes(), unpacked.len());
    unpacker.finish().map(|()| Bytes::from(unpacked))
}

#[test]
fn pieces_unpack_to_what_the_whole_does() {
    let plain: Vec<u8> = (0..30_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    for encoding in PACKED {
        // Two of them in a row are one body, but for brotli.
        let one = pack(encoding, &plain[..60_000]);
        let packed = match encoding {
            Encoding::Brotli => pack(encoding, &plain),
            _ => Bytes::from([one, pack(encoding, &plain[60_000..])].concat()),
        };
        for piece_bytes in [1, 7, 1_000, packed.len()] {
            let unpacked = in_pieces(encoding, &packed, piece_bytes, LIMIT).expect("within the limit");
            assert!(unpacked == plain, "{encoding:?} in pieces of {piece_bytes}");
            let too_large = in_pieces(encoding, &packed, piece_bytes, plain.len() - 1);
            assert_eq!(code(&too_large), "body_too_large", "{encoding:?} in pieces of {piece_bytes}");
        }
        let cut = in_pieces(encoding, &packed.slice(..packed.len() - 1), 1, LIMIT);
        assert_eq!(code(&cut), "bad_body", "{encoding:?}");
        let and_more = Bytes::from([&packed, &b"more"[..]].concat());
        assert_eq!(code(&in_pieces(encoding, &and_more, 1, LIMIT)), "bad_body", "{encoding:?}");
    }
}

#[test]
fn a_decoder_says_what_it_holds() {
    let plain = vec![b'x'; LIMIT];
    for (encoding, most) in [
        (Encoding::Identity, 0),
        (Encoding::Gzip, 64 * 1024),
        (Encoding::Zstd, 3 * 1024 * 1024),
        (Encoding::Brotli, 5 * 1024 * 1024),
    ] {
        let packed = pack(encoding, &plain);
        let mut unpacker = Unpacker::new(encoding, SizeLimit::unpacked(LIMIT));
        // All but the end: then it still needs its window.
        unpacker.feed(packed.slice(..packed.len() - 1)).expect("within the limit");
        let held = unpacker.held_bytes();
        assert!(held <= most && (held >= 32 * 1024 || most == 0), "{encoding:?} holds {held}");
    }
}

#[test]
fn one_byte_over_the_limit_is_too_large() {
    for encoding in PACKED {
        let packed = pack(encoding, &vec![b' '; LIMIT + 1]);
        assert_eq!(
            code(&encoding.unpack(packed, SizeLimit::unpacked(LIMIT))),
            "body_too_large",
            "{encoding:?}"
        );
    }
}

#[test]
fn a_bomb_costs_no_more_than_the_cap() {
    for encoding in PACKED {
        let packed = pack(encoding, &vec![0; 32 * 1024 * 1024]);
        assert!(packed.len() < 512 * 1024, "{encoding:?} packs it into {}", packed.len());
        assert_eq!(
            code(&encoding.unpack(packed, SizeLimit::unpacked(LIMIT))),
            "body_too_large",
            "{encoding:?}"
        );
    }
}

#[test]
fn what_ends_early_or_goes_on_behind_its_end_is_a_bad_body() {
    for encoding in PACKED {
        let packed = pack(encoding, b"{\"events\":[]}");
        for length in 0..packed.len() {
            let cut = encoding.unpack(packed.slice(..length), SizeLimit::unpacked(LIMIT));
            assert_eq!(code(&cut), "bad_body", "{encoding:?} cut to {length}");
        }
        let and_more = Bytes::from([&packed, &b"more"[..]].concat());
        assert_eq!(code(&encoding.unpack(and_more, SizeLimit::unpacked(LIMIT))), "bad_body", "{encoding:?}");
    }
}

#[test]
fn what_needs_more_memory_than_any_good_body_is_too_large() {
    // Nothing here repeats, so that the stream is one piece that says how long it is.
    let plain: Vec<u8> =
        (0..4_000_000u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let packed = brotli_with_window(&plain, 24, false);
    let mut unpacker = Unpacker::new(Encoding::Brotli, SizeLimit::unpacked(LIMIT));
    assert_eq!(code(&unpacker.feed(Bytes::from(packed))), "body_too_large");
    assert!(unpacker.held_bytes() <= BROTLI_MOST_BYTES + 64 * 1024);
}

#[test]
fn windows_that_would_cost_too_much_memory_are_refused() {
    let plain = vec![b'x'; 3 * 1024 * 1024];
    let large = brotli_with_window(&plain, 30, true);
    assert_eq!(code(&Encoding::Brotli.unpack(Bytes::from(large), SizeLimit::unpacked(LIMIT))), "bad_body");

    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).expect("in memory");
    encoder.window_log(ZSTD_WINDOW_LOG_MAX + 1).expect("a window that zstd knows");
    encoder.include_contentsize(false).expect("a flag that zstd knows");
    encoder.write_all(&plain).expect("in memory");
    let large = encoder.finish().expect("in memory");
    assert_eq!(code(&Encoding::Zstd.unpack(Bytes::from(large), SizeLimit::unpacked(LIMIT))), "bad_body");
}

#[test]
fn one_encoding_once_is_understood() {
    let of = |values: &[&'static str]| {
        let values = values.iter().map(|value| (CONTENT_ENCODING, HeaderValue::from_static(value)));
        let mut headers = HeaderMap::new();
        values.for_each(|(name, value)| {
            headers.append(name, value);
        });
        Encoding::of(&headers).ok()
    };
    assert_eq!(of(&[]), Some(Encoding::Identity));
    assert_eq!(of(&["GZIP"]), Some(Encoding::Gzip));
    assert_eq!(of(&["br"]), Some(Encoding::Brotli));
    assert_eq!(of(&["zstd"]), Some(Encoding::Zstd));
    for refused in [&["deflate"][..], &["gzip, br"], &["gzip", "gzip"], &["gzip,"], &["compress"]] {
        assert_eq!(of(refused), None, "{refused:?}");
    }
}

proptest! {
    #[test]
    fn hostile_bytes_are_an_answer_and_never_more_than_the_limit(
        bytes in proptest::collection::vec(any::<u8>(), 0..2_000),
        at in any::<prop::sample::Index>(),
        bit in 0..8u32,
    ) {
        for encoding in PACKED {
            let whole = encoding.unpack(Bytes::from(bytes.clone()), SizeLimit::unpacked(10_000));
            let pieces = in_pieces(encoding, &Bytes::from(bytes.clone()), 3, 10_000);
            prop_assert_eq!(code(&whole), code(&pieces));
            let mut broken = pack(encoding, &bytes).to_vec();
            let at = at.index(broken.len());
            broken[at] ^= 1 << bit;
            if let Ok(unpacked) = encoding.unpack(Bytes::from(broken), SizeLimit::unpacked(10_000)) {
                prop_assert!(unpacked.len() <= 10_000);
            }
        }
    }
}
