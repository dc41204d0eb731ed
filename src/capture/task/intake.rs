//! From the read buffer to the queue: frames as they are, everything else for what it says.

use super::Task;
use crate::capture::framing::{Cut, Message};
use crate::capture::refusal::{self, Doing, ident};
use crate::capture::session::Session;
use crate::capture::wire::{Boundary, Keepalive, ServerError, boundary};
use crate::change::Identity;
use crate::fault::{Error, ErrorKind, Result};

impl Task {
    /// Moves what is whole from the buffer to the queue, while there is room. Returns whether the
    /// buffer has been emptied of whole messages.
    pub(super) fn drain(&mut self, session: &mut Session) -> Result<bool> {
        let mut emptied = false;
        while !emptied && self.sender.has_room() {
            let mut frames = Vec::new();
            let (bytes, cut) = session.framer.cut(&mut frames, self.batch)?;
            for frame in &frames {
                match boundary(&frame.payload) {
                    None => {}
                    Some(Boundary::Opens) => self.open = true,
                    Some(Boundary::Closes(end)) => {
                        self.open = false;
                        self.feedback.receive(end);
                    }
                }
            }
            // The bound is set by now: whoever takes the frames may confirm them.
            self.sender.frames(frames, bytes);
            match cut {
                Cut::Full => {}
                Cut::Starved => emptied = true,
                Cut::Message(message) => self.other(&message)?,
            }
        }
        self.publish(|_| ());
        Ok(emptied)
    }

    /// A message that is not a change.
    fn other(&mut self, message: &Message) -> Result<()> {
        match message.tag {
            b'd' => match Keepalive::parse(&message.body) {
                Some(keepalive) => {
                    self.keepalive(keepalive);
                    Ok(())
                }
                None => Err(Error::new(
                    ErrorKind::Protocol,
                    format!(
                        "the server sent something after {} that is neither a change nor a keepalive",
                        self.feedback.lsns().received
                    ),
                )
                .remedy("please report this with the server's version")),
            },
            b'N' => {
                let notice = ServerError::parse(&message.body);
                if notice.code == "55000" && notice.severity != "LOG" {
                    return Err(skipped_publication(&notice, &self.identity));
                }
                tracing::info!(code = notice.code, "the server says: {}", notice.message);
                Ok(())
            }
            b'E' => {
                let error = ServerError::parse(&message.body);
                Err(refusal::refusal(&error, Doing::Streaming, &self.info, &self.identity.slot))
            }
            b'c' | b'C' | b'Z' => Err(self.lost("the server ended the stream")),
            b'S' => Ok(()),
            tag => Err(Error::new(
                ErrorKind::Protocol,
                format!("the server sent a message of type {:?} in the stream", char::from(tag)),
            )
            .remedy("please report this with the server's version")),
        }
    }

    /// How far the server has got. Positions inside a transaction are not news: they are its own.
    fn keepalive(&mut self, keepalive: Keepalive) {
        let Keepalive { end, reply } = keepalive;
        if reply {
            self.feedback.request(end);
        }
        if self.open {
            return;
        }
        let lsns = self.feedback.lsns();
        // The supervisor turns an idle position into durable progress and confirms it; only then is
        // it reported. It stands behind all frames that came before it.
        if end > lsns.received || (reply && end > lsns.durable) {
            self.feedback.receive(end);
            self.sender.idle(end, reply);
        }
    }
}

/// Postgres 18 warns once and then leaves the changes out.
fn skipped_publication(notice: &ServerError, identity: &Identity) -> Error {
    Error::new(
        ErrorKind::Identity,
        format!(
            "the server leaves changes out because the publication {:?} is not there",
            identity.publication
        ),
    )
    .remedy(format!(
        "make the publication {} again, then: {}",
        ident(&identity.publication),
        refusal::lost_remedy(&identity.slot)
    ))
    .source(format!("{} (SQLSTATE {})", notice.message, notice.code))
}
