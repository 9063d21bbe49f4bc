//! The wire format of protobuf, read where it stands and written straight into its buffer.
//!
//! Generated messages copy every string and bytes on the way in and out; on the two ways that every event takes, the
//! record and the protobuf form of a request, that would be most of the work. Groups, which no proto3 file can have, count as malformed.

/// The bytes are not protobuf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// The value of one field on the wire.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire<'a> {
    Varint(u64),
    Fixed64([u8; 8]),
    Bytes(&'a [u8]),
    Fixed32([u8; 4]),
}

/// The fields of one message, number and value, in the order sent. Ends after the first malformed one.
#[derive(Clone, Debug)]
pub(crate) struct WireFields<'a> {
    rest: &'a [u8],
}

impl<'a> WireFields<'a> {
    pub(crate) fn of(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    fn read(&mut self) -> Result<(u32, Wire<'a>), Malformed> {
        let key = varint(&mut self.rest)?;
        let number = u32::try_from(key >> 3).map_err(|_| Malformed)?;
        if number == 0 {
            return Err(Malformed);
        }
        let value = match key & 7 {
            0 => Wire::Varint(varint(&mut self.rest)?),
            1 => Wire::Fixed64(array(&mut self.rest)?),
            2 => {
                let length = usize::try_from(varint(&mut self.rest)?).map_err(|_| Malformed)?;
                let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
                self.rest = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Fixed32(array(&mut self.rest)?),
            _ => return Err(Malformed),
        };
        Ok((number, value))
    }
}

impl<'a> Iterator for WireFields<'a> {
    type Item = Result<(u32, Wire<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

/// Takes a varint off the front.
#[inline]
pub(crate) fn varint(bytes: &mut &[u8]) -> Result<u64, Malformed> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first().ok_or(Malformed)?;
        *bytes = rest;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one more bit.
        if shift == 63 && bits > 1 {
            return Err(Malformed);
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Malformed)
}

fn array<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (array, rest) = bytes.split_first_chunk().ok_or(Malformed)?;
    *bytes = rest;
    Ok(*array)
}

/// Writes the fields of a message at the end of a buffer.
pub(crate) trait Append {
    /// A bare varint.
    fn varint(&mut self, value: u64);

    /// The key of a field of kind `string`, `bytes` or message, whose length and bytes follow.
    fn key_of_bytes(&mut self, number: u32);

    /// A field of kind `int64`, `uint32` or `bool`.
    fn varint_field(&mut self, number: u32, value: u64);

    /// A field of kind `string`, `bytes` or message.
    fn bytes_field(&mut self, number: u32, bytes: &[u8]);

    /// A field of kind `float`.
    fn float_field(&mut self, number: u32, value: f32);
}

impl Append for Vec<u8> {
    #[inline]
    fn varint(&mut self, mut value: u64) {
        loop {
            let [low, ..] = value.to_le_bytes();
            value >>= 7;
            if value == 0 {
                return self.push(low & 0x7f);
            }
            self.push(low | 0x80);
        }
    }

    #[inline]
    fn key_of_bytes(&mut self, number: u32) {
        self.varint(u64::from(number << 3 | 2));
    }

    #[inline]
    fn varint_field(&mut self, number: u32, value: u64) {
        self.varint(u64::from(number << 3));
        self.varint(value);
    }

    #[inline]
    fn bytes_field(&mut self, number: u32, bytes: &[u8]) {
        self.key_of_bytes(number);
        self.varint(bytes.len() as u64);
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn float_field(&mut self, number: u32, value: f32) {
        self.varint(u64::from(number << 3 | 5));
        self.extend_from_slice(&value.to_le_bytes());
    }
}

/// The bytes that a varint takes: one for each seven bits begun.
#[inline]
pub(crate) fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros()).div_ceil(7) as usize
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_varint_reads_back_and_is_as_long_as_counted(value: u64, shift in 0..64_u32) {
            let value = value >> shift;
            let mut bytes = Vec::new();
            bytes.varint(value);
            prop_assert_eq!(bytes.len(), varint_len(value));
            let mut rest = &bytes[..];
            prop_assert_eq!(varint(&mut rest), Ok(value));
            prop_assert!(rest.is_empty());
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes: Vec<u8>) {
            let fields: Vec<_> = WireFields::of(&bytes).collect();
            prop_assert!(fields.len() <= bytes.len());
            prop_assert!(fields.iter().rev().skip(1).all(Result::is_ok));
        }
    }

    #[test]
    fn what_is_too_long_or_cut_off_is_malformed() {
        for mut bytes in
            [&[0x80_u8; 11][..], &[0x80], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]]
        {
            assert_eq!(varint(&mut bytes), Err(Malformed));
        }
        for bytes in
            [&[0x00_u8, 0x00][..], &[0x0a, 0x02, 0x00], &[0x0d, 0, 0, 0], &[0x09, 0], &[0x0b], &[0x0e]]
        {
            assert_eq!(WireFields::of(bytes).next(), Some(Err(Malformed)), "{bytes:?}");
        }
    }
}
