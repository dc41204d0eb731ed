//! The recycle bin: records taken out of it, and out of the world.
//!
//! REST has no call for either; SOAP has `undelete()` and `emptyRecycleBin()`, of up to 200 ids. The
//! access token serves as the session.
//!
//! <https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_undelete.htm>
//! <https://developer.salesforce.com/docs/atlas.en-us.api.meta/api/sforce_api_calls_emptyrecyclebin.htm>

use bytes::Bytes;

use super::errors::{self, ApiError};
use super::http::{Answer, Call, unreadable};
use super::{MAX_RENEWALS, Salesforce, at};
use crate::fault::{Class, Fault};
use crate::planning::CrmId;
use crate::sinks::Outcome;

/// The version of the partner API that is spoken; all orgs that speak ours speak it.
const PATH: &str = "/services/Soap/u/60.0";

/// A call on records of the bin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Binned {
    /// They come back, with what went with them.
    Undelete,
    /// They go for good.
    Empty,
}

impl Binned {
    fn name(self) -> &'static str {
        match self {
            Binned::Undelete => "undelete",
            Binned::Empty => "emptyRecycleBin",
        }
    }

    fn call(self) -> Call {
        match self {
            Binned::Undelete => Call::Undelete,
            Binned::Empty => Call::Delete,
        }
    }
}

impl Salesforce {
    /// One attempt; an outcome an id, in their order. *Absent*: it is not in the bin.
    pub(super) async fn binned(&self, what: Binned, ids: &[CrmId]) -> Result<Vec<Outcome>, Fault> {
        let mut session = self.auth.session(&self.http).await?;
        let mut renewals = 0;
        let answer = loop {
            let url = at(&session.instance, PATH)?;
            let body = envelope(what, &session.token, ids);
            let request = self
                .http
                .client()
                .post(url)
                .header("content-type", "text/xml; charset=UTF-8")
                .header("soapaction", "\"\"")
                .body(Bytes::from(body));
            let answer = self.http.send(what.call(), request).await?;
            let refused = fault_code(&text_of(&answer)).as_deref() == Some("INVALID_SESSION_ID");
            if !refused || renewals == MAX_RENEWALS {
                break answer;
            }
            renewals += 1;
            session = self.auth.renew(&self.http, &session).await?;
        };
        let text = text_of(&answer);
        if !answer.is_success() {
            return Err(refusal(&answer, &text));
        }
        let results = elements(&text, "result");
        if results.len() != ids.len() {
            return Err(unreadable(
                what.call(),
                "the results of a SOAP call cannot be read",
            ));
        }
        let outcomes = results
            .iter()
            .zip(ids)
            .map(|(result, id)| outcome(result, id));
        Ok(outcomes.collect())
    }
}

fn text_of(answer: &Answer) -> String {
    String::from_utf8_lossy(&answer.body).into_owned()
}

fn envelope(what: Binned, token: &str, ids: &[CrmId]) -> String {
    let name = what.name();
    let ids: String = ids
        .iter()
        .map(|id| format!("<ids>{}</ids>", escape(id)))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\
         <soapenv:Envelope xmlns:soapenv=\"http://schemas.xmlsoap.org/soap/envelope/\" \
         xmlns=\"urn:partner.soap.sforce.com\"><soapenv:Header>\
         <SessionHeader><sessionId>{}</sessionId></SessionHeader>\
         <CallOptions><client>Syncline/{}</client></CallOptions></soapenv:Header>\
         <soapenv:Body><{name}>{ids}</{name}></soapenv:Body></soapenv:Envelope>",
        escape(token),
        env!("CARGO_PKG_VERSION"),
    )
}

fn outcome(result: &str, id: &CrmId) -> Outcome {
    let first = |name| elements(result, name).into_iter().next();
    if first("success").as_deref() == Some("true") {
        return Outcome::Written {
            crm_id: Some(id.clone()),
            created: false,
        };
    }
    let code = first("statusCode").unwrap_or_default();
    // It is not in the bin: it was never there, has left it for good, or is live.
    if matches!(
        code.as_str(),
        "UNDELETE_FAILED" | "ENTITY_IS_DELETED" | "INVALID_CROSS_REFERENCE_KEY" | "NOT_FOUND"
    ) {
        return Outcome::Absent;
    }
    let message = first("message").map(|m| unescape(&m));
    let error = ApiError {
        code,
        message,
        fields: None,
        ..ApiError::default()
    };
    Outcome::Refused(errors::record_fault(vec![error], None))
}

/// `sf:INVALID_SESSION_ID` without its prefix.
fn fault_code(xml: &str) -> Option<String> {
    let code = elements(xml, "faultcode").into_iter().next()?;
    let bare = code.rsplit(':').next().unwrap_or_default();
    Some(bare.trim().to_owned())
}

/// The fault of a request refused as a whole, by the same table as all others.
fn refusal(answer: &Answer, xml: &str) -> Fault {
    let Some(code) = fault_code(xml) else {
        return answer.fault();
    };
    let message = elements(xml, "faultstring").into_iter().next();
    let message = message.map(|m| unescape(&m));
    let as_rest = serde_json::json!([{ "errorCode": code, "message": message }]).to_string();
    let mut fault = answer.fault_of(as_rest.as_bytes());
    if fault.code == "INVALID_SESSION_ID" {
        fault.class = Class::Authentication;
    }
    fault
}

/// What stands in the elements of this local name, whatever their prefix. Elements of that name are
/// not nested in each other.
fn elements(xml: &str, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = xml;
    while let Some((_, tag_on)) = rest.split_once('<') {
        let Some((tag, after)) = tag_on.split_once('>') else {
            break;
        };
        rest = after;
        let full = tag.split_ascii_whitespace().next().unwrap_or_default();
        if tag.ends_with('/') || full.rsplit(':').next() != Some(name) {
            continue;
        }
        if let Some((inside, behind)) = after.split_once(&format!("</{full}>")) {
            found.push(inside.to_owned());
            rest = behind;
        }
    }
    found
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

fn unescape(text: &str) -> String {
    let pairs = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_one_by_one() {
        let xml = "<s:Envelope><s:Body><undeleteResponse>\
            <result><id>001A</id><success>true</success></result>\
            <ns1:result xsi:type=\"x\"><errors><message>a &lt;b&gt; &amp;amp;</message>\
            <statusCode>UNDELETE_FAILED</statusCode></errors><id xsi:nil=\"true\"/>\
            <success>false</success></ns1:result>\
            <result><errors><message>no &quot;right&quot;</message>\
            <statusCode>INSUFFICIENT_ACCESS_OR_READONLY</statusCode></errors>\
            <success>false</success></result></undeleteResponse></s:Body></s:Envelope>";
        let results = elements(xml, "result");
        assert_eq!(results.len(), 3);
        let id = CrmId::from("001A");
        let outcomes: Vec<Outcome> = results.iter().map(|r| outcome(r, &id)).collect();
        assert!(matches!(outcomes.first(), Some(Outcome::Written { .. })));
        assert_eq!(outcomes.get(1), Some(&Outcome::Absent));
        let Some(Outcome::Refused(fault)) = outcomes.get(2) else {
            unreachable!("{outcomes:?}");
        };
        assert_eq!(fault.code, "INSUFFICIENT_ACCESS_OR_READONLY");
        assert!(fault.message.contains("no \"right\""), "{fault}");
    }

    #[test]
    fn faults_are_named_by_their_code() {
        let xml = "<soapenv:Fault><faultcode>sf:REQUEST_LIMIT_EXCEEDED</faultcode>\
            <faultstring>REQUEST_LIMIT_EXCEEDED: TotalRequests Limit exceeded.</faultstring></soapenv:Fault>";
        assert_eq!(fault_code(xml).as_deref(), Some("REQUEST_LIMIT_EXCEEDED"));
        for broken in ["", "<", "<faultcode", "<faultcode>", "<faultcode/>", "text"] {
            assert_eq!(fault_code(broken), None, "{broken}");
        }
    }
}
