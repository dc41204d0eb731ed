-- The tables of the repository's config.toml.

CREATE TABLE company (
    id        integer PRIMARY KEY,
    name      text NOT NULL,
    phone     text,
    website   text,
    employees integer,
    industry  text
);

CREATE TABLE customer (
    id            integer PRIMARY KEY,
    company_id    integer REFERENCES company,
    first_name    text,
    last_name     text,
    email         text,
    password_hash text
);

CREATE TABLE deal (
    company_id integer NOT NULL REFERENCES company,
    number     integer NOT NULL,
    title      text NOT NULL,
    stage      text NOT NULL,
    amount     numeric(14, 2),
    closes_on  date NOT NULL,
    PRIMARY KEY (company_id, number)
);

-- Made before the slot, by the owner of the tables.
CREATE PUBLICATION syncline FOR TABLE company, customer, deal
    WITH (publish_via_partition_root = true);
