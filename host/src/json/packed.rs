//! The compact bytes of a value.
//!
//! | type | bytes |
//! |---|---|
//! | bool | one byte, 0 or 1 |
//! | u8, s8 | one byte |
//! | other integers, char | LEB128; signed ones in zigzag first |
//! | f32, f64 | little-endian bits; one NaN for all |
//! | string, `list<u8>` | length, bytes |
//! | list | count, items |
//! | option | 0, or 1 and the value |
//! | result | 0 and the ok value, or 1 and the err value |
//! | record, tuple | fields one after the other |
//! | variant, enum | index of the case, payload |
//! | flags | one byte per eight flags, lowest bit first |

use std::fmt;

/// A value as compact bytes; only its [`Plan`](super::Plan) knows what they mean.
///
/// Equal values have equal bytes (NaN included: there is one), so bytes can be compared.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Packed(pub Box<[u8]>);

impl fmt::Debug for Packed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Packed({} bytes)", self.0.len())
    }
}

/// A command, event or rejection: which one, and its fields.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PackedCase {
    /// Index into the aggregate's commands, events or rejections, in the model's order.
    pub case: usize,
    /// Its fields: a record, empty if it has none.
    pub fields: Packed,
}

/// Bytes that a [`Writer`] keeps at most to write again.
const MAX_KEPT_BYTES: usize = 4 << 10;

/// Writes packed bytes.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// One byte as it is.
    pub fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    /// An unsigned number, length or index.
    pub fn unsigned(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push((value & 0x7f) as u8);
    }

    /// A signed number.
    pub fn signed(&mut self, value: i64) {
        self.unsigned(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    /// A float; every NaN is the same.
    pub fn f32(&mut self, value: f32) {
        let value = if value.is_nan() { f32::NAN } else { value };
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A float; every NaN is the same.
    pub fn f64(&mut self, value: f64) {
        let value = if value.is_nan() { f64::NAN } else { value };
        self.0.extend_from_slice(&value.to_bits().to_le_bytes());
    }

    /// A length and the bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.unsigned(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    /// Packed bytes as they are, e.g. a default.
    pub fn packed(&mut self, packed: &Packed) {
        self.0.extend_from_slice(&packed.0);
    }

    /// How many bytes have been written.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Room for the number that [`Self::fill_count`] writes once it is known.
    pub(super) fn leave_count(&mut self) -> usize {
        self.0.push(0);
        self.0.len() - 1
    }

    /// Writes an unsigned number where [`Self::leave_count`] left room; what follows moves if the
    /// number needs more than one byte.
    pub(super) fn fill_count(&mut self, at: usize, count: usize) {
        if let (Some(byte), 0..0x80) = (self.0.get_mut(at), count) {
            *byte = count as u8;
            return;
        }
        let mut number = Self::default();
        number.unsigned(count as u64);
        self.0.splice(at..=at, number.0);
    }

    /// Sets bit `bit` of the flags at `at`; whether it was set before.
    pub(super) fn set_flag(&mut self, at: usize, bit: usize) -> bool {
        let mask = 1 << (bit % 8);
        self.0.get_mut(at + bit / 8).is_some_and(|byte| {
            let before = *byte & mask != 0;
            *byte |= mask;
            before
        })
    }

    /// Takes away all bytes from `start` on.
    pub(super) fn cut(&mut self, start: usize) -> Vec<u8> {
        self.0.split_off(start)
    }

    /// Bytes as they are.
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// What was written; the writer is empty then, and keeps its memory for what comes next.
    #[must_use]
    pub fn take(&mut self) -> Packed {
        if self.0.len() > MAX_KEPT_BYTES {
            return std::mem::take(self).finish();
        }
        let packed = Packed(self.0.as_slice().into());
        self.0.clear();
        packed
    }

    /// What was written.
    #[must_use]
    pub fn finish(self) -> Packed {
        Packed(self.0.into_boxed_slice())
    }
}

/// Reads packed bytes that this process wrote. Bytes that do not fit the plan are a bug, told as
/// [`Corrupt`] so that nobody acts on half a value.
#[derive(Debug, Clone)]
pub struct Cursor<'a>(&'a [u8]);

/// Packed bytes do not fit the plan they are read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("packed bytes do not fit their plan: this is a bug in aether")]
pub struct Corrupt;

impl<'a> Cursor<'a> {
    /// Reads `packed` from its start.
    #[must_use]
    pub fn new(packed: &'a Packed) -> Self {
        Self(&packed.0)
    }

    /// Whether everything has been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next byte.
    ///
    /// # Errors
    /// At the end.
    pub fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self.0.split_first().ok_or(Corrupt)?;
        self.0 = rest;
        Ok(*first)
    }

    /// The next `n` bytes as they are.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self.0.split_at_checked(n).ok_or(Corrupt)?;
        self.0 = rest;
        Ok(taken)
    }

    /// An unsigned number.
    ///
    /// # Errors
    /// At the end, or over 64 bits.
    pub fn unsigned(&mut self) -> Result<u64, Corrupt> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Corrupt)
    }

    /// An unsigned number as a length or an index.
    ///
    /// # Errors
    /// As [`Self::unsigned`].
    pub fn len(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.unsigned()?).map_err(|_| Corrupt)
    }

    /// A signed number.
    ///
    /// # Errors
    /// As [`Self::unsigned`].
    pub fn signed(&mut self) -> Result<i64, Corrupt> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A float.
    ///
    /// # Errors
    /// At the end.
    pub fn f32(&mut self) -> Result<f32, Corrupt> {
        let bytes = self.take(4)?.try_into().map_err(|_| Corrupt)?;
        Ok(f32::from_bits(u32::from_le_bytes(bytes)))
    }

    /// A float.
    ///
    /// # Errors
    /// At the end.
    pub fn f64(&mut self) -> Result<f64, Corrupt> {
        let bytes = self.take(8)?.try_into().map_err(|_| Corrupt)?;
        Ok(f64::from_bits(u64::from_le_bytes(bytes)))
    }

    /// A length and that many bytes.
    ///
    /// # Errors
    /// If there are fewer.
    pub fn bytes(&mut self) -> Result<&'a [u8], Corrupt> {
        let n = self.len()?;
        self.take(n)
    }

    /// A string.
    ///
    /// # Errors
    /// If it is not UTF-8, or there are fewer bytes.
    pub fn str(&mut self) -> Result<&'a str, Corrupt> {
        std::str::from_utf8(self.bytes()?).map_err(|_| Corrupt)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(unsigned: u64, signed: i64, single: f32, double: f64, text: String) {
            let mut writer = Writer::default();
            writer.unsigned(unsigned);
            writer.signed(signed);
            writer.f32(single);
            writer.f64(double);
            writer.bytes(text.as_bytes());
            let packed = writer.finish();
            let mut cursor = Cursor::new(&packed);
            prop_assert_eq!(cursor.unsigned(), Ok(unsigned));
            prop_assert_eq!(cursor.signed(), Ok(signed));
            prop_assert_eq!(cursor.f32().unwrap().to_bits(), single.to_bits());
            prop_assert_eq!(cursor.f64().unwrap().to_bits(), double.to_bits());
            prop_assert_eq!(cursor.str(), Ok(text.as_str()));
            prop_assert!(cursor.is_empty());
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes: Vec<u8>) {
            let packed = Packed(bytes.into());
            let mut cursor = Cursor::new(&packed);
            while cursor.str().is_ok() {}
            let _ = (cursor.unsigned(), cursor.signed(), cursor.f64(), cursor.byte());
        }
    }
}
