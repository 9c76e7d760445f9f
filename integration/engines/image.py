#!/usr/bin/env python3
"""Layers and images without a registry.

    image.py layer DIR FILE                             DIR as a layer; of an overlay's upper folder too
    image.py archive FILE NAME CONFIG LAYER...          an archive of one image, for `docker load`, `podman load`, `ctr image import`

CONFIG is the image's `config` object as JSON: Cmd, Env and so on. The archive has both forms in it: OCI's layout, and the
manifest.json of older Dockers.
"""
import hashlib, io, json, os, stat, sys, tarfile


def layer(folder, target):
    """What overlayfs says by device nodes and attributes, a layer says by names (image-spec, layer.md)."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path, folders, files in os.walk(folder):
            inside = os.path.relpath(path, folder)
            if inside != ".":
                tar.add(path, inside, recursive=False)
                if b"y" == attribute(path, "trusted.overlay.opaque"):
                    empty(tar, os.path.join(inside, ".wh..wh..opq"))
            for name in files + [name for name in folders if os.path.islink(os.path.join(path, name))]:
                status = os.lstat(os.path.join(path, name))
                if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
                    empty(tar, os.path.join(inside, ".wh." + name))
                elif not stat.S_ISSOCK(status.st_mode):
                    tar.add(os.path.join(path, name), os.path.normpath(os.path.join(inside, name)), recursive=False)


def attribute(path, name):
    try:
        return os.getxattr(path, name, follow_symlinks=False)
    except OSError:
        return None


def empty(tar, name):
    tar.addfile(tarfile.TarInfo(os.path.normpath(name)))


def archive(target, name, config, layers):
    with tarfile.open(target, "w") as tar:
        digests = [add_file(tar, path) for path in layers]
        image = {"architecture": "amd64", "os": "linux", "config": json.loads(config),
                 "rootfs": {"type": "layers", "diff_ids": ["sha256:" + digest for digest, _ in digests]},
                # Buildah wants one for each layer.
                "history": [{"created_by": "integration/engines/images"} for _ in digests]}
        kind = "application/vnd.oci.image."
        image = add(tar, json.dumps(image).encode())
        manifest = add(tar, json.dumps({
            "schemaVersion": 2, "mediaType": kind + "manifest.v1+json", "config": descriptor(kind + "config.v1+json", image),
            "layers": [descriptor(kind + "layer.v1.tar", digest) for digest in digests]}).encode())
        index = {"schemaVersion": 2, "manifests": [dict(
            descriptor(kind + "manifest.v1+json", manifest),
            annotations={"io.containerd.image.name": f"docker.io/library/{name}", "org.opencontainers.image.ref.name": name.split(":")[1]})]}
        add(tar, json.dumps(index).encode(), "index.json")
        add(tar, b'{"imageLayoutVersion": "1.0.0"}', "oci-layout")
        docker = [{"Config": blob(image), "RepoTags": [name], "Layers": [blob(digest) for digest in digests]}]
        add(tar, json.dumps(docker).encode(), "manifest.json")


def blob(digest):
    return "blobs/sha256/" + digest[0]


def descriptor(kind, digest):
    return {"mediaType": kind, "digest": "sha256:" + digest[0], "size": digest[1]}


def add(tar, content, name=None):
    digest = hashlib.sha256(content).hexdigest(), len(content)
    info = tarfile.TarInfo(name or blob(digest))
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))
    return digest


def add_file(tar, path):
    sum = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            sum.update(chunk)
        digest = sum.hexdigest(), file.tell()
        info = tarfile.TarInfo(blob(digest))
        info.size = digest[1]
        file.seek(0)
        tar.addfile(info, file)
    return digest


if __name__ == "__main__":
    if sys.argv[1:2] == ["layer"]:
        layer(*sys.argv[2:])
    elif sys.argv[1:2] == ["archive"]:
        archive(*sys.argv[2:5], sys.argv[5:])
    else:
        sys.exit(__doc__)
