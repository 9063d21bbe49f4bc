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

#[test]
fn several_in_a_row_are_one_body_but_for_brotli() {
    let (one, other) = (vec![b'1'; 60_000], vec![b'2'; 1_000]);
    for encoding in PACKED {
        let packed = Bytes::from([pack(encoding, &one), pack(encoding, &other)].concat());
        let unpacked = encoding.unpack(packed.clone(), SizeLimit::unpacked(61_000));
        if encoding == Encoding::Brotli {
            assert_eq!(code(&unpacked), "bad_body");
            continue;
        }
        assert!(unpacked.expect("within the limit") == [&one[..], &other].concat(), "{encoding:?}");
        assert_eq!(
            code(&encoding.unpack(packed, SizeLimit::unpacked(60_999))),
            "body_too_large",
            "{encoding:?}"
        );
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
    let refused = Encoding::Brotli.unpack(Bytes::from(packed), SizeLimit::unpacked(LIMIT));
    assert_eq!(code(&refused), "body_too_large");
}

#[test]
fn a_frame_that_says_that_it_is_too_large_is_too_large_whatever_its_window() {
    let zeros = vec![0; 16 * 1024 * 1024];
    let one = |plain: &[u8], level| zstd::bulk::compress(plain, level).expect("in memory");
    for level in [3, 20, 22] {
        let packed = one(&zeros, level);
        assert!(packed.len() < 512 * 1024, "{}", packed.len());
        let small_first = [one(b"{}", level), packed.clone()].concat();
        for body in [packed, small_first] {
            let refused = Encoding::Zstd.unpack(Bytes::from(body), SizeLimit::unpacked(LIMIT));
            assert!(
                matches!(&refused, Err(Problem::BodyTooLarge(limit)) if limit.bytes() == LIMIT),
                "level {level}: {refused:?}"
            );
        }
    }
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
            if let Ok(unpacked) = encoding.unpack(Bytes::from(bytes.clone()), SizeLimit::unpacked(10_000)) {
                prop_assert!(unpacked.len() <= 10_000);
            }
            let mut broken = pack(encoding, &bytes).to_vec();
            let at = at.index(broken.len());
            broken[at] ^= 1 << bit;
            if let Ok(unpacked) = encoding.unpack(Bytes::from(broken), SizeLimit::unpacked(10_000)) {
                prop_assert!(unpacked.len() <= 10_000);
            }
        }
    }
}
