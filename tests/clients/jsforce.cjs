// jsforce against the sandbox: every call that a program of an integrator makes.
//
// SANDBOX_URL names the sandbox. Each step prints one line; the first that fails ends the run.
'use strict';

const assert = require('node:assert/strict');
const jsforce = require('jsforce');

const url = process.env.SANDBOX_URL;
const KEY = 'Ext_Id__c';

async function step(name, run) {
  await run();
  console.log(`ok ${name}`);
}

function connection(version = '66.0') {
  const oauth2 = { loginUrl: url, clientId: 'sandbox', clientSecret: 'sandbox' };
  return new jsforce.Connection({ loginUrl: url, instanceUrl: url, version, oauth2 });
}

async function refused(call, code) {
  await assert.rejects(call, (error) => {
    // The code is the error's name, or the first word of its message if it came by SOAP.
    const told = error.errorCode ?? String(error.message).split(':')[0];
    assert.equal(told, code, String(error));
    return true;
  });
}

async function main() {
  const soap = new jsforce.Connection({ loginUrl: url, version: '60.0' });
  await step('login by SOAP', async () => {
    const user = await soap.login('admin@sandbox.test', 'sandbox' + 'token');
    assert.match(user.id, /^005/);
    assert.match(user.organizationId, /^00D/);
    assert.equal(soap.instanceUrl, url);
  });
  await step('login by SOAP with a wrong password', () =>
    refused(
      new jsforce.Connection({ loginUrl: url, version: '60.0' }).login('admin@sandbox.test', 'no'),
      'INVALID_LOGIN',
    ));
  await step('login by user name and password over OAuth', async () => {
    const user = await connection().login('admin@sandbox.test', 'sandbox');
    assert.match(user.id, /^005/);
  });
  const conn = connection();
  await step('login by client credentials', async () => {
    const user = await conn.authorize({ grant_type: 'client_credentials' });
    assert.match(user.id, /^005/);
  });
  await step('identity', async () => {
    const me = await conn.identity();
    assert.equal(me.username, 'integration@sandbox.test');
    assert.match(me.organization_id, /^00D/);
  });
  await step('describe', async () => {
    const all = await conn.describeGlobal();
    assert.ok(all.sobjects.some((o) => o.name === 'Account'));
    const account = await conn.sobject('Account').describe();
    const key = account.fields.find((f) => f.name === KEY);
    assert.deepEqual([key.externalId, key.unique, key.type], [true, true, 'string']);
  });

  const accounts = conn.sobject('Account');
  let one;
  await step('create one', async () => {
    one = await accounts.create({ Name: 'One', [KEY]: 'one' });
    assert.equal(one.success, true);
    assert.match(one.id, /^001.{15}$/);
  });
  await step('create one that is refused', () => refused(accounts.create({}), 'REQUIRED_FIELD_MISSING'));
  await step('create several, one of them refused', async () => {
    const made = await accounts.create([{ Name: 'A', [KEY]: 'a' }, {}, { Name: 'B', [KEY]: 'b' }]);
    assert.deepEqual(made.map((r) => r.success), [true, false, true]);
    assert.equal(made[1].errors[0].statusCode, 'REQUIRED_FIELD_MISSING');
  });
  await step('retrieve', async () => {
    const row = await accounts.retrieve(one.id);
    assert.deepEqual([row.Name, row[KEY], row.attributes.type], ['One', 'one', 'Account']);
    const rows = await accounts.retrieve([one.id, one.id]);
    assert.deepEqual(rows.map((r) => r.Name), ['One', 'One']);
    await refused(accounts.retrieve('001Ws000000zzzzAAA'), 'NOT_FOUND');
  });
  await step('update', async () => {
    const done = await accounts.update({ Id: one.id, Phone: '42' });
    assert.equal(done.success, true);
    const many = await accounts.update([{ Id: one.id, Phone: null }, { Id: 'x', Phone: '1' }]);
    assert.deepEqual(many.map((r) => r.success), [true, false]);
    assert.equal((await accounts.retrieve(one.id)).Phone, null);
  });
  await step('upsert one', async () => {
    const made = await accounts.upsert({ [KEY]: 'up', Name: 'Up' }, KEY);
    assert.deepEqual([made.success, made.created], [true, true]);
    const again = await accounts.upsert({ [KEY]: 'up', Name: 'Up 2' }, KEY);
    assert.deepEqual([again.created, again.id], [false, made.id]);
  });
  await step('upsert several', async () => {
    const made = await accounts.upsert([{ [KEY]: 'up', Site: 's' }, { [KEY]: 'up-3', Name: 'C' }], KEY);
    assert.deepEqual(made.map((r) => r.created), [false, true]);
  });
  await step('upsert of children by the key of their parent', async () => {
    const contacts = conn.sobject('Contact');
    const rows = [
      { [KEY]: 'c-1', LastName: 'Lee', Account: { [KEY]: 'up' } },
      { [KEY]: 'c-2', LastName: 'Roe', Account: { [KEY]: 'nobody' } },
    ].map((r) => ({ attributes: { type: 'Contact' }, ...r }));
    const made = await contacts.upsert(rows, KEY);
    assert.deepEqual(made.map((r) => r.success), [true, false]);
    assert.match(made[1].errors[0].message, /Foreign key external ID: nobody not found/);
  });
  await step('query with a parent', async () => {
    const found = await conn.query("SELECT LastName, Account.Name FROM Contact WHERE LastName = 'Lee'");
    assert.deepEqual([found.totalSize, found.records[0].Account.Name], [1, 'Up 2']);
    await refused(conn.query('SELECT Nope FROM Contact'), 'INVALID_FIELD');
  });
  await step('query more than one page', async () => {
    for (let at = 0; at < 2400; at += 200) {
      const rows = Array.from({ length: 200 }, (_, i) => ({ LastName: 'Many', [KEY]: `m-${at + i}` }));
      const made = await conn.sobject('Lead').create(rows.map(({ LastName }) => ({ LastName, Company: 'X' })));
      assert.ok(made.every((r) => r.success));
    }
    const first = await conn.query('SELECT Id FROM Lead');
    assert.deepEqual([first.totalSize, first.records.length, first.done], [2400, 2000, false]);
    const next = await conn.queryMore(first.nextRecordsUrl);
    assert.deepEqual([next.records.length, next.done], [400, true]);
    const all = await conn.query('SELECT Id FROM Lead').run({ autoFetch: true, maxFetch: 5000 });
    assert.equal(new Set(all.records.map((r) => r.Id)).size, 2400);
  });
  await step('delete and undelete', async () => {
    const gone = await accounts.destroy(one.id);
    assert.equal(gone.success, true);
    await refused(accounts.destroy(one.id), 'ENTITY_IS_DELETED');
    const bin = await conn.query(`SELECT Id, IsDeleted FROM Account WHERE Id = '${one.id}'`, { scanAll: true });
    assert.equal(bin.records[0].IsDeleted, true);
    const back = await soap.soap.undelete([one.id]);
    assert.equal(JSON.stringify(back).includes('"success":true'), true, JSON.stringify(back));
    assert.equal((await accounts.retrieve(one.id)).Name, 'One');
    const many = await accounts.destroy([one.id, 'x']);
    assert.deepEqual(many.map((r) => r.success), [true, false]);
  });
  await step('deleted and updated', async () => {
    const hour = 3600 * 1000;
    const [start, end] = [new Date(Date.now() - hour), new Date(Date.now() + hour)];
    const deleted = await accounts.deleted(start, end);
    assert.ok(deleted.deletedRecords.some((r) => r.id === one.id));
    const updated = await accounts.updated(start, end);
    assert.ok(updated.ids.length > 3);
  });
  await step('limits', async () => {
    const limits = await conn.limits();
    assert.ok(limits.DailyApiRequests.Remaining < limits.DailyApiRequests.Max);
    assert.ok(conn.limitInfo.apiUsage.used > 10);
  });

  await step('bulk upsert of an array', async () => {
    const rows = Array.from({ length: 1234 }, (_, i) => ({
      [KEY]: `bulk-${i}`,
      Name: i === 7 ? null : `Bulk "${i}",\n`,
      Phone: i === 8 ? null : String(i),
    }));
    const done = await conn.bulk2.loadAndWaitForResults({
      object: 'Account', operation: 'upsert', externalIdFieldName: KEY, input: rows, pollInterval: 50,
    });
    assert.deepEqual(
      [done.successfulResults.length, done.failedResults.length, done.unprocessedRecords.length],
      [1233, 1, 0],
    );
    const failed = done.failedResults[0];
    assert.equal(failed[KEY], 'bulk-7');
    assert.equal(failed.sf__Error, 'REQUIRED_FIELD_MISSING:Required fields are missing: [Name]:Name --');
    assert.ok(done.successfulResults.every((r) => r.sf__Created === 'true' && r.sf__Id.startsWith('001')));
    const row = await accounts.findOne({ [KEY]: 'bulk-8' }, ['Name', 'Phone']);
    assert.deepEqual([row.Name, row.Phone], ['Bulk "8",\n', null]);
  });
  await step('bulk insert of a text', async () => {
    const input = 'LastName,Account.Ext_Id__c\nBulky,bulk-1\nBulkier,nobody\n';
    const done = await conn.bulk2.loadAndWaitForResults({ object: 'Contact', operation: 'insert', input });
    assert.equal(done.successfulResults[0].LastName, 'Bulky');
    assert.match(done.failedResults[0].sf__Error, /^INVALID_FIELD:Foreign key external ID: nobody not found/);
  });
  await step('bulk query', async () => {
    const stream = await conn.bulk2.query("SELECT Id, Ext_Id__c, Name FROM Account WHERE Ext_Id__c LIKE 'bulk-%'");
    const rows = await stream.toArray();
    assert.equal(rows.length, 1233);
    assert.equal(rows.find((r) => r[KEY] === 'bulk-9').Name, 'Bulk "9",\n');
  });
  await step('bulk update and delete', async () => {
    const rows = await conn.query("SELECT Id FROM Account WHERE Ext_Id__c LIKE 'bulk-1%'").run({ autoFetch: true });
    const ids = rows.records.map((r) => ({ Id: r.Id }));
    const changed = await conn.bulk2.loadAndWaitForResults({
      object: 'Account', operation: 'update', input: ids.map((r) => ({ ...r, Site: 'bulk' })),
    });
    assert.equal(changed.successfulResults.length, ids.length);
    const deleted = await conn.bulk2.loadAndWaitForResults({ object: 'Account', operation: 'delete', input: ids });
    assert.deepEqual([deleted.successfulResults.length, deleted.failedResults.length], [ids.length, 0]);
    const left = await conn.query("SELECT COUNT() FROM Account WHERE Site = 'bulk'");
    assert.equal(left.totalSize, 0);
  });
  await step('bulk job that fails whole', async () => {
    const job = conn.bulk2.createJob({ object: 'Account', operation: 'insert' });
    await job.open();
    await job.uploadData('Nope__c\nx\n');
    await job.close();
    await assert.rejects(job.poll(20, 20000), /Field name not found : Nope__c/);
    const rows = await job.getUnprocessedRecords();
    assert.deepEqual(rows, [{ Nope__c: 'x' }]);
  });
  await step('bulk job that is aborted and deleted', async () => {
    const job = conn.bulk2.createJob({ object: 'Account', operation: 'insert' });
    await job.open();
    await job.abort();
    assert.equal((await job.check()).state, 'Aborted');
    await job.delete();
    await refused(job.check(), 'NOT_FOUND');
  });
  await step('bulk jobs that are refused', async () => {
    const job = { object: 'Account', operation: 'upsert', externalIdFieldName: 'website' };
    await refused(conn.bulk2.createJob(job).open(), 'INVALIDJOB');
    await refused(conn.bulk2.createJob({ object: 'Account', operation: 'hardDelete' }).open(), 'FEATURENOTENABLED');
  });
  await step('logout', async () => {
    await conn.logout();
    const { accessToken } = soap;
    await soap.logoutBySoap(false);
    const late = new jsforce.Connection({ instanceUrl: url, accessToken, version: '66.0' });
    await refused(late.query('SELECT Id FROM Account'), 'INVALID_SESSION_ID');
  });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
