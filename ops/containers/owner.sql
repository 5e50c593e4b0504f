-- The owner of the schema, who is no superuser, and its database; run once, by the image, when the data is new.
-- `activity migrate` makes every other role.
set log_min_error_statement to panic;
\set password `cat /run/secrets/owner_password`
create role activity_owner login createrole password :'password';
create database activity owner activity_owner;
