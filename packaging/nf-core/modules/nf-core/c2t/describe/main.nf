process C2T_DESCRIBE {
    tag "${meta.id}"
    label 'process_high'

    conda "${moduleDir}/environment.yml"
    // Built from packaging/docker/Dockerfile; it lies in no public registry yet. Nextflow also needs `ps` in it (Debian:
    // procps), and docker.runOptions = "--entrypoint ''", as its entry point is c2t.
    container "c2t:0.1.0"

    input:
    tuple val(meta), path(cells)
    path bundle
    val format

    output:
    tuple val(meta), path("${prefix}.${format}"), emit: descriptions
    path "versions.yml", emit: versions, topic: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    def args = task.ext.args ?: ''
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    c2t describe ${bundle} ${cells} --output ${prefix}.${format} --threads ${task.cpus} ${args}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        c2t: \$(c2t --version | sed 's/^c2t //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    touch ${prefix}.${format}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        c2t: \$(c2t --version | sed 's/^c2t //')
    END_VERSIONS
    """
}
