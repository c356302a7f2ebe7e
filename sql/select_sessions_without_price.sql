SELECT wanted.session
FROM unnest(%s::date[]) AS wanted (session)
WHERE NOT EXISTS (SELECT 1 FROM price_bars AS b WHERE b.session = wanted.session)
ORDER BY 1;
