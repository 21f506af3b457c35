//! A pod's volumes: which the runtime keeps, with their rendered files, and what each container mounts.
//!
//! Deliberately absent: persistent volumes, CSI, NFS and the like, which need an issue of their own.

use bytes::Bytes;
use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, HostPathVolumeSource, KeyToPath, ProjectedVolumeSource,
    Volume as PodVolume, VolumeProjection,
};

use super::super::types::{File, Mount, MountSource, Volume, VolumeContent};
use super::expand::expand;
use super::{ConfigError, Context, field};

/// Permission bits of a file when nothing is said (Kubernetes' `defaultMode`).
const MODE_DEFAULT: i32 = 0o644;

/// The volumes that the runtime must make for a pod.
pub fn volumes(context: &Context<'_>) -> Result<Vec<Volume>, ConfigError> {
    let mut made = Vec::new();
    for volume in context.spec().volumes.iter().flatten() {
        if let Some(content) = content(context, volume)? {
            let name = volume.name.clone();
            made.push(Volume { name, content });
        }
    }
    Ok(made)
}

/// What a volume holds; none for a path of the host, which the runtime need not make.
fn content(
    context: &Context<'_>,
    volume: &PodVolume,
) -> Result<Option<VolumeContent>, ConfigError> {
    let files = |files| Ok(Some(VolumeContent::Files(files)));
    if volume.host_path.is_some() {
        return Ok(None);
    }
    if let Some(empty) = &volume.empty_dir {
        let memory = empty.medium.as_deref() == Some("Memory");
        return Ok(Some(VolumeContent::Empty { memory }));
    }
    if let Some(source) = &volume.config_map {
        let mode = source.default_mode.unwrap_or(MODE_DEFAULT);
        let optional = source.optional == Some(true);
        let items = source.items.as_deref().unwrap_or_default();
        return files(config_map(context, &source.name, items, optional, mode)?);
    }
    if let Some(source) = &volume.secret {
        let mode = source.default_mode.unwrap_or(MODE_DEFAULT);
        let name = source.secret_name.as_deref().unwrap_or_default();
        let optional = source.optional == Some(true);
        let items = source.items.as_deref().unwrap_or_default();
        return files(secret(context, name, items, optional, mode)?);
    }
    if let Some(source) = &volume.downward_api {
        let mode = source.default_mode.unwrap_or(MODE_DEFAULT);
        let items = source.items.as_deref().unwrap_or_default();
        return files(downward(context, items, mode)?);
    }
    if let Some(source) = &volume.projected {
        return files(projected(context, source)?);
    }
    Err(ConfigError::Volume(volume.name.clone()))
}

fn config_map(
    context: &Context<'_>,
    name: &str,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
) -> Result<Vec<File>, ConfigError> {
    let map = match context.config_map(name) {
        Err(_) if optional => return Ok(Vec::new()),
        found => found?,
    };
    let text = map.data.iter().flatten();
    let binary = map.binary_data.iter().flatten();
    let pairs: Vec<(&str, &[u8])> = text
        .map(|(key, value)| (key.as_str(), value.as_bytes()))
        .chain(binary.map(|(key, value)| (key.as_str(), value.0.as_slice())))
        .collect();
    select(&pairs, items, optional, mode, |key| {
        context.missing_key("ConfigMap", name, key)
    })
}

fn secret(
    context: &Context<'_>,
    name: &str,
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
) -> Result<Vec<File>, ConfigError> {
    let secret = match context.secret(name) {
        Err(_) if optional => return Ok(Vec::new()),
        found => found?,
    };
    let data = secret.data.iter().flatten();
    let pairs: Vec<(&str, &[u8])> = data
        .map(|(key, value)| (key.as_str(), value.0.as_slice()))
        .collect();
    select(&pairs, items, optional, mode, |key| {
        context.missing_key("Secret", name, key)
    })
}

/// All pairs as files of their key's name, or the chosen ones at their chosen paths.
fn select(
    pairs: &[(&str, &[u8])],
    items: &[KeyToPath],
    optional: bool,
    mode: i32,
    missing: impl Fn(&str) -> ConfigError,
) -> Result<Vec<File>, ConfigError> {
    let copy = |bytes: &[u8]| Bytes::copy_from_slice(bytes);
    if items.is_empty() {
        let whole = |(key, value): &(&str, &[u8])| file(key, mode, copy(value));
        return pairs.iter().map(whole).collect();
    }
    let mut files = Vec::new();
    for item in items {
        match pairs.iter().find(|(key, _)| *key == item.key) {
            Some((_, value)) => {
                files.push(file(&item.path, item.mode.unwrap_or(mode), copy(value))?);
            }
            None if optional => {}
            None => return Err(missing(&item.key)),
        }
    }
    Ok(files)
}

fn downward(
    context: &Context<'_>,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
) -> Result<Vec<File>, ConfigError> {
    let render = |item: &DownwardAPIVolumeFile| {
        let value = if let Some(reference) = &item.field_ref {
            field::field(context, &reference.field_path)?
        } else if let Some(reference) = &item.resource_field_ref {
            field::resource(context, None, reference)?
        } else {
            String::new()
        };
        file(&item.path, item.mode.unwrap_or(mode), value.into())
    };
    items.iter().map(render).collect()
}

fn projected(
    context: &Context<'_>,
    source: &ProjectedVolumeSource,
) -> Result<Vec<File>, ConfigError> {
    let mode = source.default_mode.unwrap_or(MODE_DEFAULT);
    let mut files = Vec::new();
    for projection in source.sources.iter().flatten() {
        files.extend(projection_files(context, projection, mode)?);
    }
    Ok(files)
}

/// Service account tokens are left out until there is somebody to sign them; their volume is mounted without one.
fn projection_files(
    context: &Context<'_>,
    projection: &VolumeProjection,
    mode: i32,
) -> Result<Vec<File>, ConfigError> {
    if let Some(source) = &projection.config_map {
        let items = source.items.as_deref().unwrap_or_default();
        let optional = source.optional == Some(true);
        return config_map(context, &source.name, items, optional, mode);
    }
    if let Some(source) = &projection.secret {
        let items = source.items.as_deref().unwrap_or_default();
        let optional = source.optional == Some(true);
        return secret(context, &source.name, items, optional, mode);
    }
    if let Some(source) = &projection.downward_api {
        return downward(context, source.items.as_deref().unwrap_or_default(), mode);
    }
    Ok(Vec::new())
}

fn file(path: &str, mode: i32, content: Bytes) -> Result<File, ConfigError> {
    let inside = |part: &str| !matches!(part, "" | "." | "..");
    if !path.split('/').all(inside) {
        return Err(ConfigError::Path(path.to_owned()));
    }
    let mode = u32::try_from(mode).unwrap_or_default() & 0o777;
    let path = path.to_owned();
    Ok(File {
        path,
        mode,
        content,
    })
}

/// What a container mounts.
pub(super) fn mounts(
    context: &Context<'_>,
    container: &Container,
    known: &std::collections::BTreeMap<String, String>,
) -> Result<Vec<Mount>, ConfigError> {
    let mut mounts = Vec::new();
    for mount in container.volume_mounts.iter().flatten() {
        let volume = context
            .spec()
            .volumes
            .iter()
            .flatten()
            .find(|volume| volume.name == mount.name)
            .ok_or_else(|| ConfigError::Volume(mount.name.clone()))?;
        let source = match &volume.host_path {
            Some(path) => host_path(path),
            None => MountSource::Volume(mount.name.clone()),
        };
        let sub_path = match &mount.sub_path_expr {
            Some(expression) => expand(expression, known),
            None => mount.sub_path.clone().unwrap_or_default(),
        };
        if sub_path.starts_with('/') || sub_path.split('/').any(|part| part == "..") {
            return Err(ConfigError::Path(sub_path));
        }
        // Kubernetes mounts what it rendered read-only, whatever the mount says.
        let rendered = volume.empty_dir.is_none() && volume.host_path.is_none();
        mounts.push(Mount {
            target: mount.mount_path.clone(),
            source,
            sub_path,
            read_only: rendered || mount.read_only == Some(true),
        });
    }
    Ok(mounts)
}

fn host_path(source: &HostPathVolumeSource) -> MountSource {
    let kind = source.type_.as_deref().unwrap_or_default();
    MountSource::HostPath {
        path: source.path.clone(),
        create: matches!(kind, "" | "DirectoryOrCreate"),
    }
}
