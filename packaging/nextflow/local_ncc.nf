// Judge a pair of images. Takes [meta, fixed, moving], with meta.id the pair's name.
process LOCAL_NCC {
    tag "$meta.id"
    label 'process_medium'
    container "${params.local_ncc_container ?: 'local-ncc:latest'}"

    input:
    tuple val(meta), path(fixed), path(moving)

    output:
    tuple val(meta), path("${meta.id}.ome.zarr"), emit: map
    tuple val(meta), path("${meta.id}.json"), emit: document
    tuple val(meta), path("${meta.id}.html"), emit: report
    path "versions.yml", emit: versions

    script:
    def options = task.ext.args ?: '--register translation --bands ncc,confidence,shift,classes'
    """
    local-ncc map ${fixed} ${moving} -o ${meta.id}.ome.zarr ${options} --threads ${task.cpus} \\
        --report ${meta.id}.html --json --quiet > ${meta.id}.json

    printf '"%s":\\n    local-ncc: "%s"\\n' "${task.process}" "\$(local-ncc --version | cut -d' ' -f2)" \\
        > versions.yml
    """
}
