#!/usr/bin/env bash
# Installs what building or testing Windlass needs and this machine lacks: on a fresh Debian or Ubuntu with only Rust,
# that is a C compiler, pkg-config and, for the tests, the PostgreSQL server programs, strace, faketime, Python's venv
# and Node.js. Says what it does; does nothing, and at once, when nothing is missing.
#
#   scripts/setup.sh build    what `make run` needs
#   scripts/setup.sh test     what `make test` needs as well
set -euo pipefail

what=${1:-test}

say() { printf 'setup: %s\n' "$*" >&2; }

fail() {
  say "$*"
  exit 1
}

# Where Debian keeps the server programs: they are not on the PATH.
has_postgres() {
  command -v initdb >/dev/null 2>&1 || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null
}

has_faketime() {
  compgen -G '/usr/lib/*/faketime/libfaketime.so.1' >/dev/null
}

has_venv() {
  command -v python3 >/dev/null 2>&1 && python3 -c 'import venv, ensurepip' >/dev/null 2>&1
}

missing_packages() {
  command -v cc >/dev/null 2>&1 || echo build-essential
  command -v pkg-config >/dev/null 2>&1 || echo pkg-config
  if [ "$what" = test ] && ! has_postgres; then echo postgresql; fi
  # Shows which calls a server makes, in which order: `cargo xtask ackcheck`.
  if [ "$what" = test ] && ! command -v strace >/dev/null 2>&1; then echo strace; fi
  # One check is a Python program in an environment of its own.
  if [ "$what" = test ] && ! has_venv; then echo python3-venv; fi
  # People sign in with an identity provider that is a Node.js program.
  if [ "$what" = test ] && ! command -v node >/dev/null 2>&1; then echo nodejs; fi
  if [ "$what" = test ] && ! command -v npm >/dev/null 2>&1; then echo npm; fi
  # One check sets the clocks of servers wrong.
  if [ "$what" = test ] && ! has_faketime; then echo faketime; fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null 2>&1; then
    sudo "$@"
  else
    fail "root is needed to run: $*"
  fi
}

install_packages() {
  command -v apt-get >/dev/null 2>&1 || fail "please install these yourself: $*"
  say "installing with apt-get: $*"
  case " $* " in *' postgresql '*)
    # The tests start servers of their own on free ports; a system-wide one is not wanted.
    if [ ! -e /etc/postgresql-common/createcluster.conf ]; then
      say "no system-wide PostgreSQL cluster will be made (/etc/postgresql-common/createcluster.conf)"
      as_root mkdir -p /etc/postgresql-common
      echo 'create_main_cluster = false' | as_root tee /etc/postgresql-common/createcluster.conf >/dev/null
    fi ;;
  esac
  # What goes wrong is said on standard error; the hundreds of lines of what goes well help nobody.
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq update >/dev/null
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$@" >/dev/null
}

if ! command -v cargo >/dev/null 2>&1; then
  if [ -x "$HOME/.cargo/bin/cargo" ]; then
    fail "Rust is in ~/.cargo/bin, which is not on the PATH: export PATH=\"\$HOME/.cargo/bin:\$PATH\""
  fi
  fail "Rust is missing; install it with rustup first"
fi

mapfile -t packages < <(missing_packages)
if [ "${#packages[@]}" -gt 0 ]; then
  install_packages "${packages[@]}"
fi

if [ "$what" = test ]; then
  for component in rustfmt clippy; do
    if ! cargo "${component/rustfmt/fmt}" --version >/dev/null 2>&1; then
      say "adding the Rust component $component"
      rustup component add "$component"
    fi
  done
  # One check's program comes from Python's package index; it says where it is, and nothing is done when it is there.
  "$(dirname "$0")/python-tool.sh" "$(dirname "$0")/../proof/schemathesis" schemathesis >/dev/null || fail "schemathesis cannot be installed (proof/schemathesis)"
  "$(dirname "$0")/../proof/oidc-provider/install.sh" >/dev/null || fail "the identity provider of the tests cannot be installed (proof/oidc-provider)"
  command -v cargo-nextest >/dev/null 2>&1 || say "cargo-nextest is not installed: the tests run with cargo test, which is slower"
fi
