-- Which accounts were merged into another: their coupons are shown with its card. Few accounts ever
-- are, and the column changes once, so updates of accounts stay as cheap as they were.
CREATE INDEX IF NOT EXISTS account_merged ON account (merged_into)
    WHERE merged_into IS NOT NULL;
