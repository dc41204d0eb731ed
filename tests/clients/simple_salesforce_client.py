"""simple-salesforce against the sandbox: every call that a program of an integrator makes.

SANDBOX_URL names the sandbox, which speaks TLS: this client knows nothing else. Each step
prints one line; the first that fails ends the run.
"""

import csv
import io
import os
from datetime import datetime, timedelta, timezone
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

import simple_salesforce.api
import simple_salesforce.exceptions as refusals
from simple_salesforce import Salesforce, SalesforceLogin

URL = os.environ["SANDBOX_URL"]
HOST = urlsplit(URL).netloc
KEY = "Ext_Id__c"


class ToSandbox(HTTPAdapter):
    """Logins go to `https://{domain}.salesforce.com` whatever one says: they are sent here."""

    def send(self, request, **kwargs):
        request.url = URL + request.path_url
        return super().send(request, **kwargs)


def session():
    made = requests.Session()
    for domain in ("login", "acme.my"):
        made.mount(f"https://{domain}.salesforce.com", ToSandbox())
    return made


def step(name):
    def run(work):
        work()
        print(f"ok {name}", flush=True)

    return run


def refused(kind, work):
    try:
        work()
    except kind as error:
        return error
    raise AssertionError(f"{kind.__name__} was expected")


STATE = {}


@step("login by SOAP")
def _():
    token, host = SalesforceLogin(
        username="admin@sandbox.test", password="sandbox", security_token="token", session=session()
    )
    assert token.startswith("00D") and host == HOST, (token, host)
    sf = Salesforce(session_id=token, instance=host, session=session(), version="66.0")
    assert sf.query("SELECT Id FROM User")["totalSize"] >= 3


@step("login by SOAP with a wrong password")
def _():
    error = refused(
        refusals.SalesforceAuthenticationFailed,
        lambda: SalesforceLogin(
            username="admin@sandbox.test", password="no", security_token="", session=session()
        ),
    )
    assert error.code == "INVALID_LOGIN", error


@step("login by user name and password over OAuth")
def _():
    Salesforce(
        username="admin@sandbox.test",
        password="sandbox",
        consumer_key="sandbox",
        consumer_secret="sandbox",
        session=session(),
    )


@step("login by client credentials")
def _():
    STATE["sf"] = Salesforce(
        consumer_key="sandbox",
        consumer_secret="sandbox",
        domain="acme.my",
        session=session(),
        version="66.0",
    )
    assert STATE["sf"].sf_instance == HOST


sf = STATE["sf"]


@step("describe")
def _():
    names = [o["name"] for o in sf.describe()["sobjects"]]
    assert "Account" in names and "PermissionSet" in names
    fields = {f["name"]: f for f in sf.Account.describe()["fields"]}
    assert fields[KEY]["externalId"] and fields[KEY]["unique"]
    assert sf.Account.metadata()["objectDescribe"]["keyPrefix"] == "001"


@step("create, get, update, delete")
def _():
    made = sf.Account.create({"Name": "One", KEY: "one"})
    assert made["success"] and made["id"].startswith("001") and made["errors"] == []
    assert sf.Account.get(made["id"])["Name"] == "One"
    assert sf.Account.update(made["id"], {"Phone": "42"}) == 204
    assert sf.Account.get(made["id"])["Phone"] == "42"
    assert sf.Account.get_by_custom_id(KEY, "one")["Id"] == made["id"]
    STATE["gone"] = made["id"]
    assert sf.Account.delete(made["id"]) == 204
    error = refused(refusals.SalesforceResourceNotFound, lambda: sf.Account.delete(made["id"]))
    assert error.content[0]["errorCode"] == "ENTITY_IS_DELETED", error


@step("refusals")
def _():
    error = refused(refusals.SalesforceMalformedRequest, lambda: sf.Account.create({}))
    assert error.content[0]["errorCode"] == "REQUIRED_FIELD_MISSING", error
    assert error.content[0]["fields"] == ["Name"], error
    error = refused(refusals.SalesforceMalformedRequest, lambda: sf.query("SELECT Nope FROM Account"))
    assert error.content[0]["errorCode"] == "INVALID_FIELD", error


@step("upsert by a key that needs quoting")
def _():
    key = "a/b?c&d"
    path = f"{KEY}/{requests.utils.quote(key, safe='')}"
    assert sf.Account.upsert(path, {"Name": "Odd"}) == 201
    assert sf.Account.upsert(path, {"Name": "Odd 2"}) == 200
    row = sf.Account.get_by_custom_id(KEY, key)
    assert (row["Name"], row[KEY]) == ("Odd 2", key), row


@step("collections through restful")
def _():
    body = {
        "allOrNone": False,
        "records": [
            {"attributes": {"type": "Contact"}, KEY: "c-1", "LastName": "Lee"},
            {"attributes": {"type": "Contact"}, KEY: "c-2"},
        ],
    }
    done = sf.restful(f"composite/sobjects/Contact/{KEY}", method="PATCH", json=body)
    assert [r["success"] for r in done] == [True, False], done
    assert done[1]["errors"][0]["statusCode"] == "REQUIRED_FIELD_MISSING", done


@step("bulk upsert")
def _():
    rows = [{KEY: f"b-{n}", "Name": f'Bulk "{n}",\n', "Phone": str(n)} for n in range(2500)]
    rows[7]["Name"] = "x" * 256
    jobs = sf.bulk2.Account.upsert(records=rows, external_id_field=KEY)
    assert sum(j["numberRecordsTotal"] for j in jobs) == 2500, jobs
    assert sum(j["numberRecordsFailed"] for j in jobs) == 1, jobs
    assert sum(j["numberRecordsProcessed"] for j in jobs) == 2500, jobs
    [job] = jobs
    read = lambda text: list(csv.DictReader(io.StringIO(text)))
    failed = read(sf.bulk2.Account.get_failed_records(job["job_id"]))
    assert [r[KEY] for r in failed] == ["b-7"], failed
    assert failed[0]["sf__Error"].startswith("STRING_TOO_LONG:Account Name: data value too large:")
    assert failed[0]["sf__Error"].endswith(":Name --"), failed
    done = read(sf.bulk2.Account.get_successful_records(job["job_id"]))
    assert len({r["sf__Id"] for r in done}) == 2499 and all(r["sf__Created"] == "true" for r in done)
    assert read(sf.bulk2.Account.get_unprocessed_records(job["job_id"])) == []
    assert sf.Account.get_by_custom_id(KEY, "b-9")["Name"] == 'Bulk "9",\n'


@step("query over pages")
def _():
    first = sf.query(f"SELECT Id FROM Account WHERE {KEY} LIKE 'b-%'")
    assert (first["totalSize"], len(first["records"]), first["done"]) == (2499, 2000, False)
    more = sf.query_more(first["nextRecordsUrl"], identifier_is_url=True)
    assert (len(more["records"]), more["done"]) == (499, True)
    rows = list(sf.query_all_iter(f"SELECT Id, Name FROM Account WHERE {KEY} LIKE 'b-%'"))
    assert len({r["Id"] for r in rows}) == 2499
    bin = sf.query_all(f"SELECT Id FROM Account WHERE Id = '{STATE['gone']}'", include_deleted=True)
    assert bin["totalSize"] == 1, bin


@step("bulk query")
def _():
    pages = list(
        sf.bulk2.Account.query(f"SELECT Id, Name FROM Account WHERE {KEY} LIKE 'b-%'", max_records=1000)
    )
    sizes = [len(list(csv.DictReader(io.StringIO(page)))) for page in pages]
    assert sizes == [1000, 1000, 499], sizes
    deleted = list(sf.bulk2.Account.query_all("SELECT Id FROM Account WHERE IsDeleted = true"))
    assert STATE["gone"] in deleted[0]


@step("bulk insert, update and delete")
def _():
    [job] = sf.bulk2.Contact.insert(records=[{"LastName": f"N{n}"} for n in range(300)])
    assert job["numberRecordsFailed"] == 0, job
    rows = sf.query_all("SELECT Id FROM Contact WHERE LastName LIKE 'N%'")["records"]
    assert len(rows) == 300
    [job] = sf.bulk2.Contact.update(records=[{"Id": r["Id"], "Title": "CEO"} for r in rows])
    assert job["numberRecordsFailed"] == 0, job
    assert sf.query("SELECT COUNT() FROM Contact WHERE Title = 'CEO'")["totalSize"] == 300
    [job] = sf.bulk2.Contact.delete(records=[{"Id": r["Id"]} for r in rows])
    assert (job["numberRecordsProcessed"], job["numberRecordsFailed"]) == (300, 0), job
    assert sf.query("SELECT COUNT() FROM Contact WHERE LastName LIKE 'N%'")["totalSize"] == 0


@step("bulk hard delete is for those who may")
def _():
    error = refused(
        refusals.SalesforceMalformedRequest,
        lambda: sf.bulk2.Contact.hard_delete(records=[{"Id": "003Ws0000000001"}]),
    )
    assert error.content[0]["errorCode"] == "FEATURENOTENABLED", error


@step("bulk job that fails whole")
def _():
    error = refused(
        simple_salesforce.exceptions.SalesforceOperationError,
        lambda: sf.bulk2.Account.insert(records=[{"Nope__c": "x"}]),
    )
    assert "Field name not found : Nope__c" in str(error), error


@step("deleted and updated")
def _():
    now = datetime.now(timezone.utc)
    start, end = now - timedelta(hours=1), now + timedelta(minutes=2)
    deleted = sf.Account.deleted(start, end)
    assert STATE["gone"] in [r["id"] for r in deleted["deletedRecords"]], deleted
    assert len(sf.Account.updated(start, end)["ids"]) >= 2499


@step("limits")
def _():
    limits = sf.limits()
    assert limits["DailyApiRequests"]["Remaining"] < limits["DailyApiRequests"]["Max"]
    used = sf.api_usage["api-usage"]
    assert used.total == limits["DailyApiRequests"]["Max"] and used.used > 10, used


@step("an ended session is told")
def _():
    other = Salesforce(session_id="00DWs0000000001!no", instance=HOST, session=session())
    error = refused(refusals.SalesforceExpiredSession, lambda: other.query("SELECT Id FROM Account"))
    assert error.content[0]["errorCode"] == "INVALID_SESSION_ID", error
