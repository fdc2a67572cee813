//! The compact byte encoding shared by everything that `domain` stores as one value.
//!
//! Little-endian base-128 integers (LEB128, zigzag for signed ones), dates as days since
//! 2000-01-01, strings with their length in front. The first byte always names the encoding,
//! so that an old value can be told from a new one. Nothing here knows what it encodes.

use jiff::civil::{Date, date};

/// Why stored bytes could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a version of the service that this one does not know.
    #[error("unknown encoding {0}")]
    UnknownEncoding(u8),
    /// Cut short, too long, or holding a value that cannot be.
    #[error("the stored bytes are damaged")]
    Damaged,
}

/// Appends values to a buffer.
#[derive(Debug)]
pub struct Writer(Vec<u8>);

impl Writer {
    /// Begins a value in the named encoding.
    pub fn new(encoding: u8) -> Self {
        Self::with_room_for(64, encoding)
    }

    /// The same for a value that is known to take about so many bytes.
    pub fn with_room_for(bytes: usize, encoding: u8) -> Self {
        let mut value = Vec::with_capacity(bytes);
        value.push(encoding);
        Self(value)
    }

    /// An unsigned number in 1 to 10 bytes. Most take one: a profile has hundreds of those, and is
    /// read and written with every swipe.
    #[inline]
    pub fn unsigned(&mut self, mut value: u64) {
        while value > 0x7f {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    /// A signed number, small magnitudes short.
    pub fn signed(&mut self, value: i64) {
        self.unsigned((value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    /// A calendar date.
    pub fn date(&mut self, value: Date) {
        self.signed(i64::from(days(value)));
    }

    /// A string with its length.
    pub fn text(&mut self, value: &str) {
        self.unsigned(value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// A string that may be absent.
    pub fn optional_text(&mut self, value: Option<&str>) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            self.text(value);
        }
    }

    /// The finished bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values off a buffer, in the order in which they were written.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Begins to read a value.
    ///
    /// # Errors
    /// When the bytes are empty or in another encoding.
    pub fn new(bytes: &'a [u8], encoding: u8) -> Result<Self, DecodeError> {
        match bytes.split_first() {
            Some((first, rest)) if *first == encoding => Ok(Self(rest)),
            Some((first, _)) => Err(DecodeError::UnknownEncoding(*first)),
            None => Err(DecodeError::Damaged),
        }
    }

    /// An unsigned number.
    ///
    /// # Errors
    /// When the bytes end inside it or it exceeds 64 bits.
    #[inline]
    pub fn unsigned(&mut self) -> Result<u64, DecodeError> {
        match self.0.split_first() {
            Some((first, rest)) if *first < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*first))
            }
            _ => self.unsigned_of_many(),
        }
    }

    fn unsigned_of_many(&mut self) -> Result<u64, DecodeError> {
        let mut value: u64 = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            if (low << shift) >> shift != low {
                return Err(DecodeError::Damaged);
            }
            value |= low << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(DecodeError::Damaged)
    }

    /// A signed number.
    ///
    /// # Errors
    /// As [`Reader::unsigned`].
    pub fn signed(&mut self) -> Result<i64, DecodeError> {
        let value = self.unsigned()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    /// A number that fits the target type.
    ///
    /// # Errors
    /// When it does not.
    pub fn small<T: TryFrom<u64>>(&mut self) -> Result<T, DecodeError> {
        T::try_from(self.unsigned()?).map_err(|_| DecodeError::Damaged)
    }

    /// The length of a list, refused when the bytes left cannot hold it.
    ///
    /// # Errors
    /// When the length is impossible.
    pub fn length(&mut self, bytes_each_min: usize) -> Result<usize, DecodeError> {
        let count: usize = self.small()?;
        if count > self.0.len() / bytes_each_min.max(1) {
            return Err(DecodeError::Damaged);
        }
        Ok(count)
    }

    /// One byte.
    ///
    /// # Errors
    /// At the end of the bytes.
    pub fn byte(&mut self) -> Result<u8, DecodeError> {
        let (first, rest) = self.0.split_first().ok_or(DecodeError::Damaged)?;
        self.0 = rest;
        Ok(*first)
    }

    /// A calendar date.
    ///
    /// # Errors
    /// When it is none.
    pub fn date(&mut self) -> Result<Date, DecodeError> {
        let days = i32::try_from(self.signed()?).map_err(|_| DecodeError::Damaged)?;
        date_of(days).ok_or(DecodeError::Damaged)
    }

    /// A string.
    ///
    /// # Errors
    /// When it is cut short or not UTF-8.
    pub fn text(&mut self) -> Result<&'a str, DecodeError> {
        let length = self.length(1)?;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| DecodeError::Damaged)
    }

    /// A string that may be absent.
    ///
    /// # Errors
    /// As [`Reader::text`].
    pub fn optional_text(&mut self) -> Result<Option<&'a str>, DecodeError> {
        Ok(match self.byte()? {
            0 => None,
            _ => Some(self.text()?),
        })
    }

    /// Nothing may follow.
    ///
    /// # Errors
    /// When something does.
    pub fn end(self) -> Result<(), DecodeError> {
        if self.0.is_empty() { Ok(()) } else { Err(DecodeError::Damaged) }
    }
}

const DAY_ZERO: Date = date(2000, 1, 1);

/// Days since 2000-01-01.
pub fn days(value: Date) -> i32 {
    let hours = value.duration_since(DAY_ZERO).as_hours();
    i32::try_from(hours / 24).expect("a calendar of 9999 years has few days")
}

/// The date of a number of [`days`]; `None` outside the years 1 to 9999.
pub fn date_of(days: i32) -> Option<Date> {
    let value = DAY_ZERO.checked_add(jiff::Span::new().try_days(days).ok()?).ok()?;
    (value.year() >= 1).then_some(value)
}
