"""The bundles: what `tare spec` writes, with Docker's profile or settings, or with more of one thing."""
import json
import os
import shutil
import subprocess

from runtimes import PAYLOAD

DATA = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../integration/data")


def data(name):
    with open(f"{DATA}/{name}", encoding="utf-8") as file:
        return json.load(file)


class Bundles:
    """Bundles with one rootfs, each made when it is first asked for."""

    def __init__(self, work, tare, docker_path):
        self.work, self.docker_path = work, docker_path
        self.plain = f"{work}/plain"
        subprocess.run([os.path.join(os.path.dirname(__file__), "../bundle"), self.plain, PAYLOAD], check=True,
                       env=dict(os.environ, TARE=tare))
        for mount_point in ["proc", "dev", "sys"]:
            self.add(mount_point, "")
        with open(f"{self.plain}/config.json", encoding="utf-8") as file:
            self.spec = json.load(file)
        self.write("plain", self.spec)

    def write(self, name, spec):
        """A bundle with this configuration; its path."""
        spec["ociVersion"] = "1.0.2"  # older peers refuse what is newer than they are
        spec["root"]["path"] = f"{self.plain}/rootfs"
        bundle = f"{self.work}/{name}"
        os.makedirs(bundle, exist_ok=True)
        with open(f"{bundle}/config.json", "w", encoding="utf-8") as file:
            json.dump(spec, file)
        return bundle

    def copy(self):
        """The default configuration, to be changed."""
        return json.loads(json.dumps(self.spec))

    def add(self, *path):
        """A file in the rootfs; a folder when `path` ends in an empty name."""
        file = os.path.join(f"{self.plain}/rootfs", *path)
        os.makedirs(os.path.dirname(file), exist_ok=True)
        if not os.path.basename(file):
            return
        with open(file, "w", encoding="ascii"):
            pass

    def install(self, program):
        """A program at the top of the rootfs."""
        shutil.copy(program, f"{self.plain}/rootfs/")

    def kind(self, kind, *args):
        """`plain`, `profile` (with Docker's seccomp profile) or `docker` (as Docker writes it, profile and all)."""
        spec = data("docker-config.json") if kind == "docker" else self.copy()
        if kind == "docker":
            spec["linux"]["cgroupsPath"] = self.docker_path
        if kind != "plain":
            spec["linux"]["seccomp"] = data("docker-seccomp.json")
        spec["process"]["args"] = list(args or [PAYLOAD])
        return self.write("-".join([kind, *map(os.path.basename, args[:1])]), spec)

    def terminal(self):
        """With a terminal."""
        spec = self.copy()
        spec["process"]["terminal"] = True
        return self.write("terminal", spec)

    def rootless(self, uid):
        """For an ordinary user, who is root in it: what `spec --rootless` leaves out, and his ids."""
        spec = self.copy()
        spec["linux"]["namespaces"] = [space for space in spec["linux"]["namespaces"] if space["type"] != "network"]
        spec["linux"]["namespaces"].append({"type": "user"})
        spec["linux"] |= {f"{kind}Mappings": [{"containerID": 0, "hostID": uid, "size": 1}] for kind in ["uid", "gid"]}
        spec["linux"].pop("resources", None)
        of_host = {"type": "bind", "source": "/sys", "options": ["rbind", "nosuid", "noexec", "nodev", "ro"]}
        mounts = [mount for mount in spec["mounts"] if mount["type"] != "cgroup"]
        spec["mounts"] = [mount | of_host if mount["type"] == "sysfs" else mount for mount in mounts]
        for mount in spec["mounts"]:
            mount["options"] = [word for word in mount.get("options", []) if not word.startswith("gid=")]
        os.chmod(os.path.dirname(self.work), 0o755)
        return self.write("rootless", spec)

    def memory(self, limit):
        """With a memory limit in bytes."""
        spec = self.copy()
        spec["linux"].setdefault("resources", {})["memory"] = {"limit": limit}
        return self.write("memory", spec)

    def mounts(self, count):
        """With bind mounts, restricted as Kubernetes does with its volumes."""
        spec = self.copy()
        os.makedirs(f"{self.work}/volume", exist_ok=True)
        for i in range(count):
            self.add("volumes", str(i), "")
            spec["mounts"].append({"destination": f"/volumes/{i}", "type": "bind", "source": f"{self.work}/volume",
                                   "options": ["rbind", "rprivate", "ro"]})
        return self.write(f"mounts-{count}", spec)

    def env(self, count):
        """With environment variables."""
        spec = self.copy()
        spec["process"]["env"] += [f"VARIABLE_{i}=value {i}" for i in range(count)]
        return self.write(f"env-{count}", spec)

    def masked(self, count):
        """With masked files."""
        spec = self.copy()
        for i in range(count):
            self.add("masked", str(i))
        spec["linux"]["maskedPaths"] += [f"/masked/{i}" for i in range(count)]
        return self.write(f"masked-{count}", spec)

    def devices(self, count):
        """With device rules, each for another device."""
        spec = self.copy()
        rules = spec["linux"].setdefault("resources", {}).setdefault("devices", [{"allow": False, "access": "rwm"}])
        rules += [{"allow": True, "type": "c", "major": 200 + i % 50, "minor": i, "access": "rw"} for i in range(count)]
        return self.write(f"devices-{count}", spec)
