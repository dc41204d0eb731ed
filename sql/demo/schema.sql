-- The demo's application: companies, the customers that work there, and deals with them. Names may
-- change and keys with them, as in an application that uses slugs: the foreign keys follow.

CREATE TYPE deal_stage AS ENUM (
    'Prospecting', 'Qualification', 'Needs Analysis', 'Proposal/Price Quote',
    'Negotiation/Review', 'Closed Won', 'Closed Lost');

CREATE TABLE company (
    id              text PRIMARY KEY,
    name            text NOT NULL,
    parent_id       text REFERENCES company ON UPDATE CASCADE,
    industry        text,
    website         text,
    phone           text,
    street          text,
    city            text,
    postal_code     text,
    country         text NOT NULL,
    employees       integer,
    annual_revenue  numeric(16, 0),
    health          numeric(4, 2),
    is_partner      boolean NOT NULL DEFAULT false,
    founded_on      date,
    segments        text[] NOT NULL DEFAULT '{}',
    notes           text,
    created_at      timestamptz NOT NULL,
    lock_version    integer NOT NULL DEFAULT 1,
    internal_margin numeric(5, 2)
);

CREATE TABLE customer (
    id              uuid PRIMARY KEY,
    company_id      text REFERENCES company ON UPDATE CASCADE,
    first_name      text,
    last_name       text NOT NULL,
    email           text,
    phone           text,
    title           text,
    language        char(2),
    birthday        date,
    opted_out       boolean NOT NULL DEFAULT false,
    lifetime_value  numeric(12, 2) NOT NULL DEFAULT 0,
    last_login      timestamptz,
    preferences     jsonb NOT NULL DEFAULT '{}',
    notes           text,
    lock_version    integer NOT NULL DEFAULT 1,
    password_hash   text
);

CREATE TABLE deal (
    company_id      text NOT NULL REFERENCES company ON UPDATE CASCADE,
    number          integer NOT NULL,
    customer_id     uuid REFERENCES customer ON UPDATE CASCADE,
    title           text NOT NULL,
    stage           deal_stage NOT NULL,
    amount          numeric(14, 2),
    discount        numeric(5, 2),
    closes_on       date NOT NULL,
    won_at          timestamptz,
    auto_renew      boolean NOT NULL DEFAULT false,
    products        text[],
    notes           text,
    lock_version    integer NOT NULL DEFAULT 1,
    PRIMARY KEY (company_id, number)
);

CREATE INDEX ON company (parent_id);
CREATE INDEX ON customer (company_id);
CREATE INDEX ON deal (customer_id);

CREATE PUBLICATION syncline FOR TABLE company, customer, deal
    WITH (publish_via_partition_root = true);
