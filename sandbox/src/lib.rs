//! A strict, local, Salesforce-compatible server.
