// The Salesforce CLI against the sandbox: the commands that an administrator types.
//
// SANDBOX_URL names the sandbox, SF the program; HOME is a folder of its own. Each step prints
// one line; the first that fails ends the run.
'use strict';

const assert = require('node:assert/strict');
const crypto = require('node:crypto');
const fs = require('node:fs');
const path = require('node:path');
const { spawnSync } = require('node:child_process');

const url = process.env.SANDBOX_URL;
const home = process.env.HOME;
const KEY = 'Ext_Id__c';

function step(name, run) {
  run();
  console.log(`ok ${name}`);
}

function run(args, env = {}) {
  const done = spawnSync(process.execPath, [process.env.SF, ...args], {
    cwd: home,
    encoding: 'utf8',
    env: { ...process.env, ...env },
    maxBuffer: 64 << 20,
  });
  if (done.error) throw done.error;
  return done;
}

// The result of a command that must work.
function sf(args, env) {
  const done = run([...args, '--json'], env);
  assert.equal(done.status, 0, `sf ${args.join(' ')}\n${done.stdout}\n${done.stderr}`);
  return JSON.parse(done.stdout).result;
}

// What is told of a command that must not.
function refused(args) {
  const done = run([...args, '--json']);
  assert.notEqual(done.status, 0, `sf ${args.join(' ')}\n${done.stdout}`);
  return JSON.parse(done.stdout || done.stderr);
}

// A bulk job whose rows were all taken.
function worked({ jobInfo, records }, rows) {
  const counts = [jobInfo.state, jobInfo.numberRecordsProcessed, jobInfo.numberRecordsFailed];
  assert.deepEqual(counts, ['JobComplete', rows, 0]);
  assert.equal(records.successfulResults.length, rows);
  assert.deepEqual([records.failedResults, records.unprocessedRecords], [[], []]);
}

function file(name, text) {
  const at = path.join(home, name);
  fs.writeFileSync(at, text);
  return at;
}

async function token() {
  const form = 'grant_type=client_credentials&client_id=sandbox&client_secret=sandbox';
  const headers = { 'content-type': 'application/x-www-form-urlencoded' };
  const reply = await fetch(`${url}/services/oauth2/token`, { method: 'POST', headers, body: form });
  return (await reply.json()).access_token;
}

async function main() {
  const SF_ACCESS_TOKEN = await token();
  step('org login access-token', () => {
    const args = ['org', 'login', 'access-token', '--instance-url', url, '--no-prompt', '--alias', 'box'];
    const done = sf([...args, '--set-default'], { SF_ACCESS_TOKEN });
    assert.equal(done.username, 'integration@sandbox.test');
    assert.match(done.orgId, /^00D/);
  });
  step('org login jwt', () => {
    const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
    const key = file('key.pem', privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const args = ['org', 'login', 'jwt', '--client-id', 'sandbox', '--jwt-key-file', key];
    const done = sf([...args, '--username', 'admin@sandbox.test', '--instance-url', url]);
    assert.equal(done.username, 'admin@sandbox.test');
  });
  step('org display', () => {
    const shown = sf(['org', 'display']);
    assert.deepEqual([shown.username, new URL(shown.instanceUrl).origin], ['integration@sandbox.test', url]);
  });
  step('sobject list and describe', () => {
    const all = sf(['sobject', 'list', '--sobject', 'all']);
    assert.ok(all.includes('Account'));
    const account = sf(['sobject', 'describe', '--sobject', 'Account']);
    assert.ok(account.fields.some((f) => f.name === KEY && f.externalId));
  });
  let id;
  step('data create record', () => {
    id = sf(['data', 'create', 'record', '-s', 'Account', '-v', `Name='One Inc' ${KEY}=one`]).id;
    assert.match(id, /^001.{15}$/);
  });
  step('data get record', () => {
    const row = sf(['data', 'get', 'record', '-s', 'Account', '-w', `${KEY}=one`]);
    assert.deepEqual([row.Id, row.Name], [id, 'One Inc']);
  });
  step('data update record', () => {
    assert.equal(sf(['data', 'update', 'record', '-s', 'Account', '-i', id, '-v', 'Phone=42']).id, id);
  });
  step('data query', () => {
    const query = `SELECT Id, Name, Phone, Owner.Username FROM Account WHERE ${KEY} = 'one'`;
    const found = sf(['data', 'query', '-q', query]);
    assert.equal(found.totalSize, 1);
    const [row] = found.records;
    assert.deepEqual([row.Phone, row.Owner.Username], ['42', 'integration@sandbox.test']);
    const table = run(['data', 'query', '-q', query]);
    assert.equal(table.status, 0, table.stderr);
    assert.match(table.stdout, /One Inc/);
  });
  step('data query over the Tooling API', () => {
    const query = "SELECT Id, DeveloperName FROM CustomField WHERE DeveloperName = 'Ext_Id'";
    assert.equal(sf(['data', 'query', '-t', '-q', query]).totalSize, 2);
  });
  step('refusals', () => {
    const field = refused(['data', 'query', '-q', 'SELECT Nope FROM Account']);
    assert.match(JSON.stringify(field), /INVALID_FIELD/);
    const missing = refused(['data', 'create', 'record', '-s', 'Account', '-v', 'Phone=1']);
    assert.match(JSON.stringify(missing), /REQUIRED_FIELD_MISSING|Required fields are missing/);
  });
  const rows = Array.from({ length: 500 }, (_, i) => `b-${i},Bulk ${i}`).join('\n');
  step('data upsert bulk', () => {
    const csv = file('upsert.csv', `${KEY},Name\n${rows}\n`);
    const done = sf(['data', 'upsert', 'bulk', '-s', 'Account', '-i', KEY, '-f', csv, '-w', '2']);
    worked(done, 500);
    assert.ok(done.records.successfulResults.every((r) => r.sf__Created === 'true'));
  });
  step('data upsert bulk with a bad row, and data bulk results', () => {
    const csv = file('bad.csv', `${KEY},Name\nb-1,Again\nb-new,\n`);
    const failed = refused(['data', 'upsert', 'bulk', '-s', 'Account', '-i', KEY, '-f', csv, '-w', '2']);
    const job = JSON.stringify(failed).match(/750[A-Za-z0-9]{15}/)[0];
    const told = sf(['data', 'bulk', 'results', '--job-id', job]);
    assert.deepEqual([told.processedRecords, told.successfulRecords, told.failedRecords], [2, 1, 1]);
    const text = fs.readFileSync(path.resolve(home, told.failedFilePath), 'utf8');
    assert.match(text, /REQUIRED_FIELD_MISSING:Required fields are missing: \[Name\]:Name --/);
  });
  step('data import bulk and data update bulk', () => {
    const csv = file('import.csv', 'LastName,Account.Ext_Id__c\nLee,b-1\nRoe,b-2\n');
    const made = sf(['data', 'import', 'bulk', '-s', 'Contact', '-f', csv, '-w', '2']);
    assert.deepEqual([made.processedRecords, made.failedRecords], [2, 0]);
    const found = sf(['data', 'query', '-q', 'SELECT Id, Account.Name FROM Contact ORDER BY LastName']);
    assert.deepEqual(found.records.map((r) => r.Account.Name), ['Again', 'Bulk 2']);
    const titles = found.records.map((r) => `${r.Id},CEO`).join('\n');
    const update = file('update.csv', `Id,Title\n${titles}\n`);
    const done = sf(['data', 'update', 'bulk', '-s', 'Contact', '-f', update, '-w', '2']);
    assert.deepEqual([done.processedRecords, done.failedRecords], [2, 0]);
  });
  let ids;
  step('data export bulk', () => {
    const out = path.join(home, 'export.csv');
    const query = `SELECT Id, ${KEY} FROM Account WHERE ${KEY} LIKE 'b-%'`;
    const done = sf(['data', 'export', 'bulk', '-q', query, '--output-file', out, '-r', 'csv', '-w', '2']);
    assert.equal(done.totalSize, 500);
    const [header, ...lines] = fs.readFileSync(out, 'utf8').trim().split('\n');
    assert.deepEqual([header.replaceAll('"', ''), lines.length], [`Id,${KEY}`, 500]);
    ids = lines.map((line) => line.split(',')[0].replaceAll('"', ''));
  });
  step('data delete bulk', () => {
    const csv = file('delete.csv', `Id\n${ids.join('\n')}\n`);
    worked(sf(['data', 'delete', 'bulk', '-s', 'Account', '-f', csv, '-w', '2']), 500);
    assert.equal(sf(['data', 'query', '-q', 'SELECT Id FROM Account']).totalSize, 1);
  });
  step('data delete record', () => {
    assert.equal(sf(['data', 'delete', 'record', '-s', 'Account', '-i', id]).id, id);
  });
  step('api request rest', () => {
    const done = run(['api', 'request', 'rest', '/services/data/v66.0/limits/recordCount?sObjects=Contact']);
    assert.equal(done.status, 0, done.stderr);
    assert.equal(JSON.parse(done.stdout).sObjects[0].name, 'Contact');
  });
  step('org list limits', () => {
    const daily = sf(['org', 'list', 'limits']).find((l) => l.name === 'DailyApiRequests');
    assert.ok(daily.remaining < daily.max);
  });
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
