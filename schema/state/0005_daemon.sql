-- The name of the daemon that keeps this file, the same after each restart: the
-- store's leases tell daemons apart by it and by the host.
CREATE TABLE daemon (
    id TEXT PRIMARY KEY
) STRICT;
INSERT INTO daemon (id) VALUES (lower(hex(randomblob(4))));
