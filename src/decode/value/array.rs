//! Arrays: `{1,NULL,"a \"b\""}`, nested, perhaps with lower bounds before (`[0:1]={1,2}`).
//!
//! <https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO>

use super::{Cursor, Read, utf8};
use crate::value::Element;

/// Dimensions an array can have (`MAXDIM`).
const MAX_DEPTH: u32 = 6;

pub(super) fn array(text: &[u8], delimiter: u8) -> Read<Vec<Element>> {
    let mut array = Array {
        rest: Cursor(utf8(text)?.as_bytes()),
        delimiter,
    };
    array.bounds()?;
    if !array.rest.eat(b'{') {
        return Err("it does not begin with a brace");
    }
    let elements = array.elements(1)?;
    match array.rest.is_empty() {
        true => Ok(elements),
        false => Err("something follows behind its last brace"),
    }
}

struct Array<'a> {
    rest: Cursor<'a>,
    delimiter: u8,
}

impl Array<'_> {
    /// Skips `[0:1][-3:4]=`.
    fn bounds(&mut self) -> Read<()> {
        if self.rest.peek() != Some(b'[') {
            return Ok(());
        }
        while self.rest.eat(b'[') {
            if !(self.bound() && self.rest.eat(b':') && self.bound() && self.rest.eat(b']')) {
                return Err("its bounds are not of the form [1:2]");
            }
        }
        match self.rest.eat(b'=') {
            true => Ok(()),
            false => Err("its bounds do not end with ="),
        }
    }

    fn bound(&mut self) -> bool {
        self.rest.eat(b'-');
        !self.rest.digits().is_empty()
    }

    /// The elements of one dimension, its opening brace already taken.
    fn elements(&mut self, depth: u32) -> Read<Vec<Element>> {
        let mut elements = Vec::new();
        if self.rest.eat(b'}') {
            // Only an array without any element is printed so.
            return match depth {
                1 => Ok(elements),
                _ => Err("a dimension of it is empty"),
            };
        }
        loop {
            let element = self.element(depth)?;
            let nested = |element: &Element| matches!(element, Element::Nested(_));
            if elements
                .first()
                .is_some_and(|first| nested(first) != nested(&element))
            {
                return Err("its dimensions do not match");
            }
            elements.push(element);
            if self.rest.eat(b'}') {
                return Ok(elements);
            }
            if !self.rest.eat(self.delimiter) {
                return Err("its elements are not separated");
            }
        }
    }

    fn element(&mut self, depth: u32) -> Read<Element> {
        if self.rest.eat(b'{') {
            return match depth < MAX_DEPTH {
                true => Ok(Element::Nested(self.elements(depth + 1)?)),
                false => Err("it has more than six dimensions"),
            };
        }
        if self.rest.eat(b'"') {
            return self.quoted();
        }
        let special = |b: &u8| matches!(b, b'{' | b'}' | b'"' | b'\\') || *b == self.delimiter;
        let len = self.rest.0.iter().position(special);
        let (text, rest) = self.rest.0.split_at(len.unwrap_or(self.rest.0.len()));
        self.rest.0 = rest;
        match text {
            b"" => Err("an element of it is empty"),
            b"NULL" => Ok(Element::Null),
            text => Ok(Element::Text(utf8(text)?.into())),
        }
    }

    /// An element up to its closing quote, its backslashes resolved.
    fn quoted(&mut self) -> Read<Element> {
        let mut text = Vec::new();
        loop {
            let special = |b: &u8| matches!(b, b'"' | b'\\');
            let Some(len) = self.rest.0.iter().position(special) else {
                return Err("an element of it has no closing quote");
            };
            let (plain, rest) = self.rest.0.split_at(len);
            text.extend_from_slice(plain);
            self.rest.0 = rest;
            if self.rest.eat(b'"') {
                let text = String::from_utf8(text).map_err(|_| "it is not UTF-8")?;
                return Ok(Element::Text(text.into()));
            }
            self.rest.eat(b'\\');
            let Some((escaped, rest)) = self.rest.0.split_first() else {
                return Err("it ends with a backslash");
            };
            text.push(*escaped);
            self.rest.0 = rest;
        }
    }
}
