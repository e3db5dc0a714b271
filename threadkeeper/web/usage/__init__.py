"""Pages at `/usage`: calls to models, their tokens and costs. Users see their own calls, admins all."""
