-- Whose numbers these are stands in the tables of numbers too, as on servers,
-- where every key is led by a tenant or a source.
ALTER TABLE did_stats ADD COLUMN tenant_id INTEGER NOT NULL DEFAULT 0;
ALTER TABLE did_daily_stats ADD COLUMN tenant_id INTEGER NOT NULL DEFAULT 0;
UPDATE did_stats SET tenant_id = (SELECT d.tenant_id FROM dids d WHERE d.id = did_id);
UPDATE did_daily_stats SET tenant_id = (SELECT d.tenant_id FROM dids d WHERE d.id = did_id);
