"""Who is where and what it takes: every card with its bounds, every engine with its cards. The only room that adds bytes up. Pure."""
