"""Members of staff for tests, by role."""

from django.contrib.auth.models import Group

from accounts.models import User

PASSWORD = "a-Long-passw0rd"


def person(role: str, name: str = "") -> User:
    """Somebody of this role."""
    user = User.objects.create_user(f"{name or role.lower()}@example.com", PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name=role))
    return user
