"""What calls to models came to, on pages at `/usage`: everyone's own, and for an admin all."""
