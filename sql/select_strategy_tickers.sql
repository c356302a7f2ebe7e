SELECT ticker FROM strategy_tickers WHERE strategy_id = %s ORDER BY ticker COLLATE "C";
